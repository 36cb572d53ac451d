/** @file `<lora:name:0.8>` and `<hypernet:name:1>`: networks that a prompt asks for. They are no text, and are taken out of it. */

export interface NetworkTag {
  /** "lora", "hypernet" ... in lower case. */
  readonly kind: string;
  /** A file's name without its ending, or an alias. */
  readonly name: string;
  /** What follows the name, in its order: "0.8". */
  readonly values: readonly string[];
  /** What is given by name: te=0.8, unet=0.5, dyn=128. */
  readonly named: Readonly<Record<string, string>>;
}

const TAG = /<([\p{L}\p{N}_]{1,40}):([^<>]{1,1000})>/gu;

/** Pure; linear in the prompt's length. */
export function networkTags(prompt: string): { readonly text: string; readonly networks: readonly NetworkTag[] } {
  const networks: NetworkTag[] = [];
  const text = prompt.replace(TAG, (_, kind: string, rest: string) => {
    const items = rest.split(":");
    const isNamed = (item: string) => item.includes("=");
    const [name = "", ...values] = items.filter((item) => !isNamed(item));
    const named = items.filter(isNamed).map((item) => {
      const at = item.indexOf("=");
      return [item.slice(0, at), item.slice(at + 1)] as const;
    });
    networks.push({ kind: kind.toLowerCase(), name, values, named: Object.fromEntries(named) });
    return "";
  });
  return { text, networks };
}
