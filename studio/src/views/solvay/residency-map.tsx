/** @file All blocks of the open model in the order of their use, as wide as they are large: where the plan puts each, and which are on the device now. */
import { useComputed } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { Block, Place, Plan } from "../../api/machine.ts";
import { type MessageKey, t } from "../../messages/translate.ts";
import { memory } from "./amounts.ts";
import { blocks } from "./engine-state.ts";

const PLACES: Readonly<Record<Place, { readonly name: string; readonly words: MessageKey }>> = {
  pinned: { name: "pinned", words: "solvay.pinned" },
  "streamed from RAM": { name: "ram", words: "solvay.fromRam" },
  streamed: { name: "streamed", words: "solvay.streamed" },
  passing: { name: "passing", words: "solvay.passing" },
};

interface Owner {
  readonly name: string;
  readonly bytes: number;
  readonly blocks: readonly Block[];
}

/** Each block once, by whose weights they are. */
function ownersOf(plan: Plan): readonly Owner[] {
  const seen = new Map<string, Block>();
  for (const { passes } of plan.phases ?? [])
    for (const { map } of passes) for (const block of map) if (!seen.has(block.key)) seen.set(block.key, block);
  const owners = new Map<string, Block[]>();
  for (const block of seen.values()) {
    const own = owners.get(block.owner) ?? [];
    own.push(block);
    owners.set(block.owner, own);
  }
  return [...owners].map(([name, own]) => {
    return { name, blocks: own, bytes: own.reduce((sum, { bytes }) => sum + bytes, 0) };
  });
}

/** `live`: lit by what the engine does. */
export function ResidencyMap({ plan, live = false }: { readonly plan: Plan; readonly live?: boolean }) {
  const owners = useMemo(() => ownersOf(plan), [plan]);
  const all = useMemo(() => owners.flatMap((owner) => owner.blocks), [owners]);
  const there = useComputed(() => blocks.value.resident);
  const onDevice = live ? all.filter(({ key }) => there.value.has(key)) : [];
  const sum = (some: readonly Block[]) => memory(some.reduce((bytes, block) => bytes + block.bytes, 0));
  const counted = (place: Place) => all.filter((block) => block.place === place);
  const shown = (Object.keys(PLACES) as Place[]).filter((place) => counted(place).length > 0);
  const summary = [
    t("solvay.blocks", { count: all.length }),
    ...shown.map((place) => `${t(PLACES[place].words)}: ${sum(counted(place))}`),
    ...(live ? [t("solvay.onDevice", { amount: sum(onDevice) })] : []),
  ].join(", ");
  return (
    <div class={live ? "residency live" : "residency"}>
      <div role="img" aria-label={summary}>
        {owners.map(({ name, bytes, blocks: own }) => (
          <div class="owner" key={name}>
            <p class="owner-name">
              <b>{name}</b>
              <span>{memory(bytes)}</span>
            </p>
            <div class="owner-blocks">
              {own.map((block) => (
                <BlockMark key={block.key} block={block} share={block.bytes / bytes} live={live} />
              ))}
            </div>
          </div>
        ))}
      </div>
      <ul class="legend">
        {shown.map((place) => (
          <li key={place}>
            <span class={`block ${PLACES[place].name} there`} />
            {t(PLACES[place].words)}
            <b>{sum(counted(place))}</b>
          </li>
        ))}
        {live && (
          <li class="lit">
            {t("solvay.nowOnDevice")}
            <b>{sum(onDevice)}</b>
          </li>
        )}
      </ul>
    </div>
  );
}

/** Renders anew only when its own state changes. */
function BlockMark({ block, share, live }: { readonly block: Block; readonly share: number; readonly live: boolean }) {
  const { key, segment, bytes, place } = block;
  const state = useComputed(() => {
    const { resident, loading, segment: now } = blocks.value;
    if (!live) return "there";
    if (loading.has(key)) return "loading";
    if (!resident.has(key)) return "away";
    return now === segment ? "there now" : "there";
  });
  return (
    <span
      class={`block ${PLACES[place].name} ${state.value}`}
      title={`${segment}: ${memory(bytes)}, ${t(PLACES[place].words)}`}
      style={{ flexGrow: String(Math.max(1, Math.round(share * 1000))) }}
    />
  );
}
