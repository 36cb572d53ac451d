/** @file `solvay store ...`: what the block store holds, whether it is sound, and how to make it so. */
import path from "node:path";
import type { Command } from "commander";
import { repairSdxl } from "../checkpoint/repair-sdxl.ts";
import { ArtifactError } from "../errors.ts";
import { cleanStore, removeModel } from "../store/removal.ts";
import { defaultStoreFolder, findModelId, listModels, nodeStore, type Store } from "../store/store.ts";
import { verifyModel } from "../store/verify.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import { printable } from "../terminal/failure.ts";
import { byteCount } from "../terminal/format.ts";
import { ImportProgress } from "../terminal/import-progress.ts";

interface StoreOptions {
  readonly store?: string;
  readonly json?: boolean;
}

export function addStoreOption(command: Command): Command {
  return command.option("--store <dir>", "the block store's folder (default: $SOLVAY_STORE, or in the user's cache)");
}

export function openStore(context: CliContext, folder: string | undefined): Store {
  return nodeStore(path.resolve(context.cwd, folder ?? defaultStoreFolder(context.env)));
}

export function addStore(program: Command, context: CliContext): void {
  const group = program.command("store").description("the block store: list, verify, repair, remove, clean");
  const command = (name: string, description: string) =>
    addStoreOption(group.command(name)).description(description).option("--json", "one JSON document");
  const print = (options: StoreOptions, json: object, lines: readonly string[]) => {
    if (options.json) context.stdout.write(`${JSON.stringify(json)}\n`);
    else for (const line of lines) context.stdout.write(`${printable(line)}\n`);
  };

  command("list", "models in the store").action((options: StoreOptions) =>
    interruptible(context, async () => {
      const models = (await listModels(openStore(context, options.store))).map(({ id, manifest, problem }) => {
        const blocks = manifest?.components.flatMap((component) => component.blocks) ?? [];
        const plainBytes = blocks.reduce((sum, block) => sum + block.plainBytes, 0);
        const packs = new Set(blocks.map(({ pack }) => pack)).size;
        const sources = manifest?.components.flatMap((component) => component.sources) ?? [];
        const artifact = sources.find(({ role }) => role === "artifact")?.path;
        const name = artifact === undefined ? manifest?.name : `${manifest?.name} + ${artifact}`;
        return { id, name, blocks: blocks.length, packs, plainBytes, problem };
      });
      const lines = models.map(({ id, name, blocks, plainBytes, problem }) =>
        problem
          ? `${id.slice(0, 12)}  ${problem}`
          : `${id.slice(0, 12)}  ${byteCount(plainBytes)}  ${blocks} blocks  ${name}`,
      );
      print(options, { models }, lines.length > 0 ? lines : ["The store is empty."]);
    }),
  );

  command("verify", "read a whole model and check every byte")
    .argument("<id>", "the beginning of its id")
    .action((prefix: string, options: StoreOptions) =>
      interruptible(context, async (signal) => {
        const store = openStore(context, options.store);
        const id = await findModelId(store, prefix);
        const problems = (await verifyModel(store, id, { signal })).map(({ text }) => text);
        const summary = problems.length === 0 ? `model ${id.slice(0, 12)}: all sound` : `${problems.length} problems`;
        print(options, { ok: problems.length === 0, id, problems }, [...problems, summary]);
        requireNone(problems, prefix, `repair it with: solvay store repair ${id.slice(0, 12)}`);
      }),
    );

  command("repair", "make damaged blocks anew from the files that the model was imported from")
    .argument("<id>", "the beginning of its id")
    .action((prefix: string, options: StoreOptions) =>
      interruptible(context, async (signal) => {
        const store = openStore(context, options.store);
        const id = await findModelId(store, prefix);
        const progress = new ImportProgress(context, false);
        const { repaired, left } = await repairSdxl(store, id, { signal, onEvent: (event) => progress.show(event) });
        progress.clear();
        const problems = left.map(({ text }) => text);
        const lines = [...repaired.map((label) => `repaired: ${label}`), ...problems];
        print(
          options,
          { ok: problems.length === 0, id, repaired, problems },
          lines.length > 0 ? lines : ["nothing to repair"],
        );
        requireNone(
          problems,
          prefix,
          "import the model again: the sources give other bytes than those that were imported",
        );
      }),
    );

  command("remove", "take a model out of the store, and what only it needed")
    .argument("<id>", "the beginning of its id")
    .action((prefix: string, options: StoreOptions) =>
      interruptible(context, async (signal) => {
        const store = openStore(context, options.store);
        const id = await findModelId(store, prefix);
        const report = await removeModel(store, id, { signal });
        print(options, { id, ...report }, sweepLines(report));
      }),
    );

  command("clean", "remove what no model needs: unused packs, imports that were not finished").action(
    (options: StoreOptions) =>
      interruptible(context, async (signal) => {
        const report = await cleanStore(openStore(context, options.store), { signal });
        print(options, report, sweepLines(report));
      }),
  );
}

function sweepLines({ packs, bytes, imports, note }: Awaited<ReturnType<typeof cleanStore>>): string[] {
  return [`${packs} packs (${byteCount(bytes)}) and ${imports} unfinished imports removed`, ...(note ? [note] : [])];
}

function requireNone(problems: readonly string[], subject: string, next: string): void {
  if (problems.length === 0) return;
  const problem = `${problems.length} ${problems.length === 1 ? "problem" : "problems"}`;
  throw new ArtifactError({ code: "E_STORE_DAMAGED", subject, problem, next });
}
