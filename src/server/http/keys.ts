/** @file API keys: a file of "name:key" lines, kept as hashes and compared in constant time. */
import { createHash, timingSafeEqual } from "node:crypto";
import { UsageError } from "../../errors.ts";

interface Key {
  readonly name: string;
  readonly hash: Buffer;
}

const MIN_KEY_CHARS = 16;

export class Keys {
  readonly #keys: readonly Key[];

  private constructor(keys: readonly Key[]) {
    this.#keys = keys;
  }

  /** Lines of "name:key" or of a key alone; empty ones and those after # count for nothing. Throws UsageError `E_API_KEYS`. */
  static fromText(text: string, file: string): Keys {
    const lines = text.split(/\r?\n/).map((line) => line.trim());
    const keys = lines.flatMap((line, at): Key[] => {
      if (line === "" || line.startsWith("#")) return [];
      const cut = line.indexOf(":");
      const [name, key] = cut < 0 ? [`key-${at + 1}`, line] : [line.slice(0, cut).trim(), line.slice(cut + 1).trim()];
      if (key.length < MIN_KEY_CHARS || name === "" || /\s/.test(key)) {
        const problem = `line ${at + 1} holds no key (found ${key.length} characters, allowed at least ${MIN_KEY_CHARS} without spaces)`;
        throw new UsageError({ code: "E_API_KEYS", subject: file, problem, next: "write a line such as name:KEY" });
      }
      return [{ name, hash: hashOf(key) }];
    });
    if (keys.length > 0) return new Keys(keys);
    const problem = "it holds no key";
    throw new UsageError({ code: "E_API_KEYS", subject: file, problem, next: "write a line such as name:KEY" });
  }

  /** The name of the key that an Authorization header holds, as a bearer or as the password of Basic; undefined: none of ours. */
  nameOf(authorization: string | undefined): string | undefined {
    const [, scheme = "", value = ""] = /^(Bearer|Basic) +(\S+)$/i.exec(authorization ?? "") ?? [];
    const basic = scheme.toLowerCase() === "basic";
    const text = basic ? Buffer.from(value, "base64").toString("utf8") : value;
    const hash = hashOf(basic ? text.slice(text.indexOf(":") + 1) : text);
    let found: string | undefined;
    // All of them, so that the time tells nothing.
    for (const key of this.#keys) if (timingSafeEqual(key.hash, hash)) found = key.name;
    return found;
  }
}

function hashOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
