/** @file Pictures by the hash of their bytes: those that were drawn, and those that clients sent. The database knows, the store has them. */
import { sha256Hex } from "#hash";
import { readPictureHeader } from "../../image/picture-header.ts";
import type { Database } from "../queue/database.ts";
import type { PictureStore } from "./picture-store.ts";

export interface Asset {
  /** sha256 of its bytes. */
  readonly sha256: string;
  readonly mediaType: string;
  readonly bytes: number;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
}

interface AssetRow extends Omit<Asset, "mediaType"> {
  readonly name: string;
  readonly media_type: string;
}

const MEDIA_TYPES = { PNG: "image/png", JPEG: "image/jpeg", WebP: "image/webp" } as const;
const ENDINGS = { PNG: "png", JPEG: "jpg", WebP: "webp" } as const;

export class Assets {
  readonly #database: Database;
  readonly #store: PictureStore;

  constructor(database: Database, store: PictureStore) {
    this.#database = database;
    this.#store = store;
  }

  /** Keeps a picture that a client sent, from now on; its file comes back where it was gone or damaged. Rejects with ArtifactError for what is none. */
  async add(bytes: Uint8Array, subject: string): Promise<Asset> {
    const { format, width, height } = readPictureHeader(bytes, subject);
    const sha256 = sha256Hex(bytes);
    const mediaType = MEDIA_TYPES[format];
    const name = `uploads/${sha256.slice(0, 2)}/${sha256}.${ENDINGS[format]}`;
    const row = await this.#row(sha256);
    if (!row || !(await this.read(sha256))) await this.#store.put(row?.name ?? name, [bytes]);
    await this.#database.query(
      `insert into solvay.assets (sha256, name, media_type, bytes, width, height) values ($1, $2, $3, $4, $5, $6)
       on conflict (sha256) do update set created_at = now()`,
      [sha256, name, mediaType, bytes.length, width, height],
    );
    return { sha256, mediaType, bytes: bytes.length, width, height };
  }

  /** Undefined: there is no such picture, or its file is gone. */
  async read(sha256: string): Promise<{ readonly asset: Asset; readonly bytes: Uint8Array<ArrayBuffer> } | undefined> {
    const row = await this.#row(sha256);
    const bytes = row && (await this.#store.get(row.name));
    if (!row || !bytes || sha256Hex(bytes) !== sha256) return undefined;
    const { media_type: mediaType, width, height } = row;
    return { asset: { sha256, mediaType, bytes: bytes.length, width, height }, bytes };
  }

  /** What is known of it, whether or not its file is there. */
  async find(sha256: string): Promise<Asset | undefined> {
    const row = await this.#row(sha256);
    return row && { sha256, mediaType: row.media_type, bytes: row.bytes, width: row.width, height: row.height };
  }

  /** Its row and its file. */
  async remove(sha256: string): Promise<void> {
    const row = await this.#row(sha256);
    if (!row) return;
    await this.#database.query("delete from solvay.assets where sha256 = $1", [sha256]);
    await this.#store.remove(row.name);
  }

  async #row(sha256: string): Promise<AssetRow | undefined> {
    const text = "select sha256, name, media_type, bytes, width, height from solvay.assets where sha256 = $1";
    return (await this.#database.query<AssetRow>(text, [sha256]))[0];
  }
}
