/** @file `solvay store ...`: what the block store holds, whether it is sound, and how to make it so. */

import type { Command } from "commander";
import { ArtifactError, printable } from "../errors.ts";
import { byteCount } from "../ledger/byte-text.ts";
import type { LibraryHost } from "../library/host.ts";
import { listStored } from "../library/list.ts";
import { repairStored } from "../library/repair.ts";
import type { ImportEvent } from "../store/import/import-types.ts";
import { cleanStore, removeModel } from "../store/removal.ts";
import { findModelId, type Store } from "../store/store.ts";
import { verifyModel } from "../store/verify.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";
import { ImportProgress } from "../terminal/import-progress.ts";
import { storeOption } from "../terminal/options.ts";

interface StoreOptions {
  readonly store?: string;
  readonly json?: boolean;
}

/** A model of the store, as its commands name it. */
interface NamedModel {
  readonly library: LibraryHost;
  readonly store: Store;
  readonly id: string;
  /** The beginning of its id, as the user wrote it. */
  readonly prefix: string;
  readonly signal: AbortSignal;
}

export function addStore(program: Command, context: CliContext): void {
  const group = program.command("store").description("the block store: list, verify, repair, remove, clean");
  const command = (name: string, description: string) =>
    group.command(name).description(description).addOption(storeOption()).option("--json", "one JSON document");
  const modelCommand = (
    name: string,
    description: string,
    work: (model: NamedModel, options: StoreOptions) => Promise<void>,
  ) =>
    command(name, description)
      .argument("<id>", "the beginning of its id")
      .action((prefix: string, options: StoreOptions) =>
        interruptible(context, async (signal) => {
          const library = libraryOf(context);
          const store = library.store(options.store);
          await work({ library, store, id: await findModelId(store, prefix), prefix, signal }, options);
        }),
      );
  const print = (options: StoreOptions, json: object, lines: readonly string[]) => {
    if (options.json) context.stdout.write(`${JSON.stringify(json)}\n`);
    else for (const line of lines) context.stdout.write(`${printable(line)}\n`);
  };

  command("list", "models in the store").action((options: StoreOptions) =>
    interruptible(context, async () => {
      const models = await listStored(libraryOf(context).store(options.store));
      const lines = models.map(({ id, name, refiner, blocks, plainBytes, problem }) =>
        problem
          ? `${id.slice(0, 12)}  ${problem}`
          : `${id.slice(0, 12)}  ${byteCount(plainBytes)}  ${blocks} blocks  ${name}${refiner ? " (a refiner)" : ""}`,
      );
      print(options, { models }, lines.length > 0 ? lines : ["The store is empty."]);
    }),
  );

  modelCommand("verify", "read a whole model and check every byte", async ({ store, id, prefix, signal }, options) => {
    const problems = (await verifyModel(store, id, { signal })).map(({ text }) => text);
    const summary = problems.length === 0 ? `model ${id.slice(0, 12)}: all sound` : `${problems.length} problems`;
    print(options, { ok: problems.length === 0, id, problems }, [...problems, summary]);
    requireNone(problems, prefix, `repair it with: solvay store repair ${id.slice(0, 12)}`);
  });

  modelCommand(
    "repair",
    "make damaged blocks anew from the files that the model was imported from",
    async ({ library, store, id, prefix, signal }, options) => {
      const progress = new ImportProgress(context, false);
      const onEvent = (event: ImportEvent) => progress.show(event);
      const { repaired, left } = await repairStored(library, store, id, { signal, onEvent }).finally(() =>
        progress.clear(),
      );
      const problems = left.map(({ text }) => text);
      const lines = [...repaired.map((label) => `repaired: ${label}`), ...problems];
      const json = { ok: problems.length === 0, id, repaired, problems };
      print(options, json, lines.length > 0 ? lines : ["nothing to repair"]);
      const next = "import the model again: the sources give other bytes than those that were imported";
      requireNone(problems, prefix, next);
    },
  );

  modelCommand(
    "remove",
    "take a model out of the store, and what only it needed",
    async ({ store, id, signal }, options) => {
      const report = await removeModel(store, id, { signal });
      print(options, { id, ...report }, sweepLines(report));
    },
  );

  command("clean", "remove what no model needs: unused packs, imports that were not finished").action(
    (options: StoreOptions) =>
      interruptible(context, async (signal) => {
        const report = await cleanStore(libraryOf(context).store(options.store), { signal });
        print(options, report, sweepLines(report));
      }),
  );
}

function sweepLines({ companions, packs, bytes, imports, note }: Awaited<ReturnType<typeof cleanStore>>): string[] {
  return [
    ...(companions > 0 ? [`${companions} parts that models had got later removed`] : []),
    `${packs} packs (${byteCount(bytes)}) and ${imports} unfinished imports removed`,
    ...(note ? [note] : []),
  ];
}

function requireNone(problems: readonly string[], subject: string, next: string): void {
  if (problems.length === 0) return;
  const problem = `${problems.length} ${problems.length === 1 ? "problem" : "problems"}`;
  throw new ArtifactError({ code: "E_STORE_DAMAGED", subject, problem, next });
}
