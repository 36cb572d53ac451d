/** @file What goes wrong between us and the hub, in words: which of it is worth another try, and what the user can do. */
import { ArtifactError, DeviceError, type SolvayError } from "../../errors.ts";

/** A failure that may pass by itself. Never leaves node/hub. */
export class Transient extends Error {
  /** What the server asked us to wait. */
  readonly waitMs: number | undefined;

  constructor(problem: string, options: { readonly waitMs?: number; readonly cause?: unknown } = {}) {
    super(problem, { cause: options.cause });
    this.name = "Transient";
    this.waitMs = options.waitMs;
  }
}

const PASSING = new Set([408, 429, 500, 502, 503, 504]);

/** The error for an answer that is neither the thing asked for nor a redirect. `what` is named in the message. */
export function refusedBy(status: number, headers: Headers, what: string, hasToken: boolean): Transient | SolvayError {
  if (PASSING.has(status)) {
    const waitMs = retryAfter(headers.get("retry-after"));
    const problem = status === 429 ? "the hub has had too many requests (429)" : `the hub answered ${status}`;
    return new Transient(problem, { waitMs });
  }
  const reason = headers.get("x-error-code") ?? "";
  if (status === 403 || reason === "GatedRepo") {
    return new DeviceError({
      code: "E_HUB_GATED",
      subject: what,
      problem: `the hub refuses access (${status})`,
      next: hasToken
        ? "open the model's page, accept its terms with the account of your token, and pull again"
        : "open the model's page, accept its terms, set HF_TOKEN to a token of that account, and pull again",
    });
  }
  if (status === 401) {
    return new DeviceError({
      code: "E_HUB_AUTH",
      subject: what,
      problem: hasToken ? "the hub does not accept the token (401)" : "not there, or private (401)",
      next: hasToken
        ? "check HF_TOKEN, or unset it for a public model"
        : "check the name; if it is private, set HF_TOKEN",
    });
  }
  if (status === 404) {
    const revision = reason === "RevisionNotFound";
    return new ArtifactError({
      code: "E_HUB_NOT_FOUND",
      subject: what,
      problem: revision ? "the model has no such revision (404)" : "not on the hub (404)",
      next: revision ? "check --revision" : "check the spelling of the name, as in its page's address",
    });
  }
  return new DeviceError({
    code: "E_HUB",
    subject: what,
    problem: `the hub answered ${status}`,
    next: "check HF_ENDPOINT, or try again later",
  });
}

/** Seconds or a date, as HTTP has it; undefined if neither. */
function retryAfter(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value.trim()) ? 1000 * Number(value) : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/** Of what `fetch` or its body threw. `reached`: the hub has answered before, so that its name and port are right. */
export function brokenConnection(error: unknown, host: string, reached: boolean): Transient | SolvayError {
  const { code, message } = rootOf(error);
  const known = WORDS.find(([pattern]) => pattern.test(code));
  const problem = known ? known[1] : `the connection broke (${code || message})`;
  const final = known?.[2] ?? "never";
  if (final === "always" || (final === "at first" && !reached)) {
    return new DeviceError({
      code: "E_NETWORK",
      subject: host,
      problem: `${problem} (${code})`,
      next: known?.[3] ?? "check the network",
      cause: error,
    });
  }
  return new Transient(problem, { cause: error });
}

const PROXY = "check the network (behind a proxy, set HTTPS_PROXY and NODE_USE_ENV_PROXY=1)";
const WORDS: readonly (readonly [RegExp, string, "always" | "at first" | "never", string])[] = [
  [/^ENOTFOUND$/, "no such host, or no network", "at first", PROXY],
  [/^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH)$/, "nothing answers there", "at first", PROXY],
  [
    /CERT|SELF_SIGNED|UNABLE_TO_|ERR_TLS/,
    "its certificate can't be trusted",
    "always",
    "check the clock and NODE_EXTRA_CA_CERTS",
  ],
  [/^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/, "the connection broke", "never", ""],
  [/TIMEOUT|ETIMEDOUT/, "no answer in time", "never", ""],
];

/** fetch wraps the reason in one or two errors; of several addresses tried, any one tells. */
function rootOf(error: unknown): { readonly code: string; readonly message: string } {
  let at = error;
  for (let depth = 0; depth < 5 && at instanceof Error; depth++) {
    const { code } = at as NodeJS.ErrnoException;
    if (code) return { code, message: at.message };
    at = at instanceof AggregateError ? at.errors[0] : (at.cause ?? at);
  }
  return { code: "", message: error instanceof Error ? error.message : String(error) };
}
