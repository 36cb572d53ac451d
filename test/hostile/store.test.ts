/** @file A store under attack: flipped bits, cut and foreign files, failing disks, crashes that lose what was not synced (S01, S03, S04, S06, B17). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ArtifactError, BudgetError, DeviceError, SolvayError } from "../../src/errors.ts";
import { importModel } from "../../src/store/import/import.ts";
import { listModels, type Store } from "../../src/store/store.ts";
import { openStoredModel } from "../../src/store/stored-model.ts";
import { verifyModel } from "../../src/store/verify.ts";
import { sameBytes } from "../support/same.ts";
import { searched } from "../support/thorough.ts";
import { MemoryFs, memoryStore } from "../unit/memory-store-fs.ts";
import { checkAllModels, checkModel, componentOf, fixture, randomOf } from "../unit/store-fixture.ts";

const HEADER_BYTES = 4096;
const FOOTER_BYTES = 64;

async function smallStore(
  packed: "on" | "off",
): Promise<{ fs: MemoryFs; store: Store; id: string; expected: Map<string, Uint8Array> }> {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const { bytes, ...component } = componentOf(
    "c",
    { a: { x: ["f16", [40, 30]], y: ["f16", [3]] }, b: { z: ["f16", [1500]] } },
    11,
  );
  const { id } = await importModel(store, { name: "small", components: [component], packed });
  return { fs, store, id, expected: bytes };
}

/** Every byte that the store hands out, or the error that it says. */
async function readAll(store: Store, id: string): Promise<Uint8Array> {
  await using model = await openStoredModel(store, id);
  const parts: Uint8Array[] = [];
  for (const { blocks } of model.components.values()) {
    for (const block of blocks) {
      const plain = new Uint8Array(block.plainBytes);
      await block.readPlain(0, plain);
      parts.push(plain);
    }
  }
  return Buffer.concat(parts);
}

/** Of a byte of index, footer or model file: one in turn, and the one that turns large letters into small ones. */
const toldBits = (at: number) => searched([...new Set([at % 8, 5])], [0, 1, 2, 3, 4, 5, 6, 7]);
/** Of all other bytes every fifth. */
const dataBits = (at: number) => searched(at % 5 === 0 ? [(at / 5) % 8] : [], [at % 8]);

for (const packed of ["off", "on"] as const) {
  test(`B17: flipped bits of every byte of index, footer and model file, and of the data, are found: packed ${packed}`, async () => {
    const { fs, store, id } = await smallStore(packed);
    let flips = 0;
    for (const path of fs.paths()) {
      const bytes = fs.bytes(path);
      const indexStart = Number(new DataView(bytes.buffer).getBigUint64(bytes.length - FOOTER_BYTES + 8, true));
      for (let at = 0; at < bytes.length; at++) {
        const told = path.endsWith(".model") || at >= indexStart;
        for (const bit of told ? toldBits(at) : dataBits(at)) {
          bytes[at]! ^= 1 << bit;
          await assert.rejects(readAll(store, id), /E_STORE_DAMAGED/, `${path} byte ${at} bit ${bit}`);
          bytes[at]! ^= 1 << bit;
          flips++;
        }
      }
    }
    assert.ok(flips > searched(4_000, 15_000), `${flips}`);
    await readAll(store, id);
  });
}

test("a flipped bit is found in a model that was open and sound before, once the file has changed", async () => {
  const { fs, store, id, expected } = await smallStore("off");
  await using model = await openStoredModel(store, id);
  const block = model.block("c", "c", "a")!;
  const plain = new Uint8Array(block.plainBytes);
  await block.readPlain(0, plain);
  const pack = fs.paths().find((path) => path.endsWith(".pack"))!;
  fs.bytes(pack)[HEADER_BYTES + 10]! ^= 4;
  fs.touch(pack);
  await assert.rejects(
    block.readPlain(0, plain),
    /E_STORE_DAMAGED pack [0-9a-f]{12}: block a, chunk 0: checksum differs .* at byte 4096/,
  );
  fs.bytes(pack)[HEADER_BYTES + 10]! ^= 4;
  await block.readPlain(0, plain);
  sameBytes(plain.subarray(0, 2400), expected.get("x")!);
});

test("room that was never written must be zero: verify finds a bit there", async () => {
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  await importModel(store, fixture({ artifact: false }).request);
  const { request } = fixture();
  const { id } = await importModel(store, request);
  await using model = await openStoredModel(store, id);
  const hole = HEADER_BYTES + model.block("unet", "unet", "b0")!.plainBytes + 100; // b1 lies in the base model's pack
  const unet = fs.paths().filter((path) => path.endsWith(".pack") && fs.bytes(path).length > hole + 8000);
  const pack = unet.find((path) =>
    fs
      .bytes(path)
      .subarray(hole, hole + 4096)
      .every((byte) => byte === 0),
  )!;
  assert.deepEqual(await verifyModel(store, id), []);
  fs.bytes(pack)[hole] = 1;
  const [problem, ...more] = await verifyModel(store, id);
  assert.match(problem!.text, new RegExp(`unused bytes are not zero at byte ${hole}`));
  assert.deepEqual(more, []);
});

test("cut, lengthened, swapped and foreign files are refused in words", async () => {
  const { fs, store, id } = await smallStore("off");
  const pack = fs.paths().find((path) => path.endsWith(".pack"))!;
  const model = fs.paths().find((path) => path.endsWith(".model"))!;
  const whole = Uint8Array.from(fs.bytes(pack));
  const put = async (path: string, bytes: Uint8Array) => {
    const file = await fs.open(path, "create");
    if (bytes.length > 0) await file.write(bytes, 0);
    await file.close();
  };
  for (let length = 0; length < whole.length; length += 97) {
    await put(pack, whole.subarray(0, length));
    await assert.rejects(readAll(store, id), /E_STORE_DAMAGED/, `cut to ${length}`);
  }
  await put(pack, Buffer.concat([whole, Buffer.alloc(1)]));
  await assert.rejects(readAll(store, id), /E_STORE_DAMAGED .*footer/);
  await put(pack, Buffer.alloc(whole.length));
  await assert.rejects(readAll(store, id), /E_STORE_DAMAGED .*header/);
  // Sound in itself, but not the pack of this name.
  const other = await smallStore("on");
  await put(pack, other.fs.bytes(other.fs.paths().find((path) => path.endsWith(".pack"))!));
  await assert.rejects(readAll(store, id), /E_STORE_DAMAGED .*index/);
  await fs.remove(pack);
  await assert.rejects(readAll(store, id), /E_STORE_DAMAGED .*not there/);
  await put(pack, whole);
  await readAll(store, id);
  const text = Uint8Array.from(fs.bytes(model));
  for (const bytes of [
    text.subarray(0, text.length - 1),
    Buffer.from("{}\n"),
    new Uint8Array(0),
    Buffer.concat([text, text]),
  ]) {
    await put(model, bytes);
    await assert.rejects(readAll(store, id), /E_STORE_DAMAGED model/);
    assert.match((await listModels(store))[0]!.problem!, /E_STORE_DAMAGED/);
  }
});

/** With the first k, and with what is added to it: three errors that come by one way share the operations among them. */
const FAULTS = [
  ["ENOSPC", 0, 1],
  ["EIO", 0, searched(3, 1)],
  ["EPERM", searched(1, 0), searched(3, 1)],
  ["EMFILE", searched(2, 0), searched(3, 1)],
  ["short", 0, 1],
] as const;

for (const [fault, first, step] of FAULTS) {
  test(`S03: the k-th file operation fails with ${fault}, for each k: said in words, and the next import is right`, async () => {
    const { expected } = fixture();
    let fired = true;
    for (let k: number = first; fired; k += step) {
      const fs = new MemoryFs();
      const store = memoryStore(fs);
      let left = k;
      fired = false;
      fs.hook = (op) => {
        if (fault === "short" && op !== "write") return undefined;
        if (left-- !== 0) return undefined;
        fired = true;
        if (fault === "short") return { shortBytes: 1 };
        throw Object.assign(new Error(`${fault}: injected`), { code: fault });
      };
      const failure = await importModel(store, fixture().request).then(
        () => undefined,
        (error: unknown) => error,
      );
      fs.hook = () => undefined;
      if (failure !== undefined) {
        assert.ok(failure instanceof SolvayError, String(failure));
        if (fault === "ENOSPC") assert.ok(failure instanceof BudgetError && failure.code === "E_DISK_FULL");
        if (fault === "EIO" || fault === "EMFILE")
          assert.ok(failure instanceof DeviceError && failure.code === "E_DISK");
        if (fault === "EPERM") assert.ok(failure instanceof ArtifactError && failure.code === "E_ACCESS");
        assert.notEqual(fault, "short", failure.message);
      } else if (fault !== "short" && fired) {
        assert.fail(`k ${k}: the import succeeded although an operation failed`);
      }
      // What is listed is whole; and the next attempt makes it so.
      await checkAllModels(store, expected);
      const { id } = await importModel(store, fixture().request);
      await checkModel(store, id, expected);
      assert.deepEqual(await verifyModel(store, id), []);
    }
  });
}

test("a failed sync is final: nothing that was not synced is believed later", async () => {
  const { expected } = fixture();
  for (let k = 0, fired = true; fired; k++) {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    let left = k;
    fired = false;
    fs.hook = (op) => {
      if (op !== "sync" || left-- !== 0) return undefined;
      fired = true;
      throw Object.assign(new Error("EIO: injected"), { code: "EIO" });
    };
    await importModel(store, fixture().request).catch(() => undefined);
    // The pages whose write-back failed are lost without another word.
    const after = fs.crashed(fs.log.length, () => 0.99);
    const { id } = await importModel(memoryStore(after), fixture().request);
    await checkModel(memoryStore(after), id, expected);
  }
});

test("S04: more than 1,000 crash states: the store is old or new, never a mix", async () => {
  const random = randomOf(99);
  const second = fixture({ unetSeed: 21, packed: "on" });
  const first = fixture();
  let states = 0;
  let withModels = 0;
  let imports = 0;
  const run = async (packed: "on" | "off") => {
    const fs = new MemoryFs();
    const store = memoryStore(fs);
    await importModel(store, fixture({ packed }).request);
    const end = fs.log.length;
    for (let length = 0; length <= end; length += 1) {
      for (let round = 0; round < 8; round++, states++) {
        const crashed = memoryStore(fs.crashed(length, random));
        const models = await checkAllModels(crashed, first.expected);
        withModels += models;
        if (round > 0) continue;
        const { id } = await importModel(crashed, fixture({ packed }).request);
        await checkModel(crashed, id, first.expected);
        assert.deepEqual(await verifyModel(crashed, id), []);
        imports++;
      }
    }
    // A crash after the end loses nothing that was reported as done.
    for (let round = 0; round < 50; round++, states++) {
      assert.equal(await checkAllModels(memoryStore(fs.crashed(end, random)), first.expected), 1);
    }
  };
  await run("off");
  await run("on");
  // A second model on top of the first: the first is never lost.
  const fs = new MemoryFs();
  const store = memoryStore(fs);
  const { id } = await importModel(store, first.request);
  const from = fs.log.length;
  await importModel(store, second.request);
  for (let length = from; length <= fs.log.length; length += 3, states++) {
    const crashed = memoryStore(fs.crashed(length, random));
    await checkModel(crashed, id, first.expected);
  }
  assert.ok(
    states > 1000 && withModels > 30 && imports > 100,
    `${states} states, ${withModels} models, ${imports} imports`,
  );
});
