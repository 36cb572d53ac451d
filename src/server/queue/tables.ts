/** @file The tables of a server, in a schema of their own, and how they come to be. Additions go to the end of VERSIONS. */
import type { Database } from "./database.ts";

const VERSIONS: readonly string[] = [
  `
  create table solvay.jobs (
    id uuid primary key,
    -- In the order of asking.
    number bigint generated always as identity,
    -- What draws the same picture has the same one.
    hash text not null,
    -- The same of what was asked for, before seeds were drawn.
    asked_hash text not null,
    -- Checked, with nothing left to chance.
    job jsonb not null,
    -- The name of the key that asked for it.
    owner text not null,
    idempotency_key text,
    -- A job of one request shares its number.
    request uuid not null,
    state text not null,
    priority int not null,
    -- The claim that works on it: what another one says counts for nothing.
    fence int,
    step int not null default 0,
    steps int,
    -- Claims since it last came further than ever, and how far that was.
    claims int not null default 0,
    best_step int not null default 0,
    error jsonb,
    asset text,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz
  );
  create unique index jobs_idempotency on solvay.jobs (owner, idempotency_key) where idempotency_key is not null;
  create index jobs_request on solvay.jobs (request);
  create index jobs_number on solvay.jobs (number);
  create index jobs_open on solvay.jobs (state) where state in ('queued', 'running');
  create table solvay.events (
    seq bigint generated always as identity primary key,
    job uuid not null,
    type text not null,
    data jsonb not null,
    at timestamptz not null default now()
  );
  create index events_job on solvay.events (job, seq);
  create table solvay.assets (
    -- sha256 of its bytes.
    sha256 text primary key,
    -- Where the store of pictures has it.
    name text not null,
    media_type text not null,
    bytes int not null,
    width int not null,
    height int not null,
    created_at timestamptz not null default now()
  );
  create table solvay.gallery (
    id bigint generated always as identity primary key,
    job uuid not null unique references solvay.jobs,
    asset text not null references solvay.assets,
    -- As the picture has it, the prompt first.
    infotext text not null,
    created_at timestamptz not null default now()
  );
  create index gallery_words on solvay.gallery using gin (to_tsvector('simple', infotext));
  `,
  `
  alter table solvay.gallery add column favourite boolean not null default false;
  -- Hidden since then, and gone for good some weeks later.
  alter table solvay.gallery add column deleted_at timestamptz;
  create index gallery_deleted on solvay.gallery (deleted_at) where deleted_at is not null;
  `,
];

/** Brings the tables to this program's version, whatever program of the past left them. */
export async function prepareTables(database: Database): Promise<void> {
  await database.run(`
    create schema if not exists solvay;
    create table if not exists solvay.version (version int not null);
  `);
  await database.transaction(async (sql) => {
    const [row] = await sql.query<{ version: number }>("select version from solvay.version");
    const from = row?.version ?? 0;
    for (const text of VERSIONS.slice(from)) {
      for (const statement of text.split(";")) if (statement.trim()) await sql.query(statement);
    }
    await sql.query("delete from solvay.version");
    await sql.query("insert into solvay.version values ($1)", [Math.max(from, VERSIONS.length)]);
  });
}
