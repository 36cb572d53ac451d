/** @file Galleries for tests: as many pictures as are wanted, put straight into a server's folder before it starts. */
import { createHash, randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { encodePng } from "../../src/image/png.ts";
import { openEmbedded } from "../../src/server/queue/database.ts";
import { prepareTables } from "../../src/server/queue/tables.ts";

export interface GalleryPicture {
  readonly prompt: string;
  readonly infotext?: string;
  readonly job?: object;
  /** ISO 8601. */
  readonly createdAt?: string;
}

/** Oldest first: the first becomes number 1. All have one of `colours` pixels, in turn: so many files there are. */
export async function fillGallery(folder: string, pictures: readonly GalleryPicture[], colours = 1): Promise<void> {
  await using database = await openEmbedded(path.join(folder, "database"));
  await prepareTables(database);
  const hashes: string[] = [];
  for (let colour = 0; colour < colours; colour++) {
    const rgb = new Uint8Array(3 * 96 * 64).map((_, at) => (colour * 37 * ((at % 3) + 1) + Math.floor(at / 288)) % 256);
    const png = await encodePng({ width: 96, height: 64, rgb });
    const sha256 = createHash("sha256").update(png).digest("hex");
    mkdirSync(path.join(folder, "images/filled"), { recursive: true });
    writeFileSync(path.join(folder, `images/filled/${sha256}.png`), png);
    await database.query(
      "insert into solvay.assets (sha256, name, media_type, bytes, width, height) values ($1, $2, 'image/png', $3, 96, 64)",
      [sha256, `filled/${sha256}.png`, png.length],
    );
    hashes.push(sha256);
  }
  const rows = pictures.map(({ prompt, infotext = prompt, job = {}, createdAt }, at) => {
    const id = randomUUID();
    return {
      id,
      asset: hashes[at % colours],
      infotext,
      job: { prompt, ...job },
      at: createdAt ?? new Date().toISOString(),
    };
  });
  await database.transaction(async (sql) => {
    const all =
      "from jsonb_to_recordset($1::jsonb) as r (id uuid, asset text, infotext text, job jsonb, at timestamptz)";
    await sql.query(
      `insert into solvay.jobs (id, hash, asked_hash, job, owner, request, state, priority, asset, created_at, finished_at)
       select id, id::text, id::text, job, '', id, 'done', 0, asset, at, at ${all}`,
      [JSON.stringify(rows)],
    );
    await sql.query(
      `insert into solvay.gallery (job, asset, infotext, created_at) select id, asset, infotext, at ${all}`,
      [JSON.stringify(rows)],
    );
  });
}
