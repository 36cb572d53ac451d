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
  `
  -- The name of the model that draws it; '' of older jobs: whichever the worker opens by itself.
  alter table solvay.jobs add column model text not null default '';
  -- pg-boss's priority of a job is its number, by which it is fetched (next-job.ts).
  do $$ begin
    if to_regclass('pgboss.job') is not null then
      update pgboss.job set priority = jobs.number from solvay.jobs where jobs.id = job.id and job.state <= 'active';
    end if;
  end $$;
  -- When a job of that key was claimed last: keys take turns.
  create table solvay.turns (
    owner text primary key,
    at timestamptz not null
  );
  create table solvay.workers (
    id uuid primary key,
    -- Machine and process, for people.
    name text not null,
    -- Names of the models that it can open.
    models jsonb not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
  );
  -- Jobs that a worker can't draw within its budgets, and why.
  create table solvay.refusals (
    job uuid not null references solvay.jobs on delete cascade,
    worker uuid not null references solvay.workers on delete cascade,
    error jsonb not null,
    primary key (job, worker)
  );
  create index events_at on solvay.events (at);
  create index jobs_finished on solvay.jobs (finished_at) where state in ('failed', 'cancelled');
  create index gallery_asset on solvay.gallery (asset);
  `,
  `
  create table solvay.settings (
    -- The name of the key whose pages keep it.
    owner text not null,
    name text not null,
    value jsonb not null,
    primary key (owner, name)
  );
  `,
  `
  -- What an upscale is asked for; null where a picture is drawn. Of any model: whichever is open makes room for it.
  alter table solvay.jobs add column upscale jsonb;
  `,
  `
  -- What the model's files hold, where servers and workers of several machines might mean different ones by its name; '' where that isn't known.
  alter table solvay.jobs add column content text not null default '';
  -- The same by names of models, and what the worker has said of the model that it has open.
  alter table solvay.workers add column contents jsonb not null default '{}';
  alter table solvay.workers add column info jsonb;
  `,
  `
  -- What jobs that run look like, for other processes; nothing is lost with it.
  create unlogged table solvay.previews (
    job uuid primary key,
    step int not null,
    steps int not null,
    width int not null,
    height int not null,
    -- height x width x 3
    rgb bytea not null
  );
  `,
];

/** Held while tables are made: several processes may start at once. */
const MAKING_LOCK = 0x50_1a_10;

/** Brings the tables to this program's version, whatever program of the past left them. */
export async function prepareTables(database: Database): Promise<void> {
  await database.transaction(async (sql) => {
    await sql.query(`select pg_advisory_xact_lock(${MAKING_LOCK})`);
    await sql.query("create schema if not exists solvay");
    await sql.query("create table if not exists solvay.version (version int not null)");
    const [row] = await sql.query<{ version: number }>("select version from solvay.version");
    const from = row?.version ?? 0;
    for (const text of VERSIONS.slice(from)) await sql.boss.executeSql(text);
    await sql.query("delete from solvay.version");
    await sql.query("insert into solvay.version values ($1)", [Math.max(from, VERSIONS.length)]);
  });
}
