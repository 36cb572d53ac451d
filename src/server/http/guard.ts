/**
 * @file What stands before every route: who may name this server (Host: against DNS rebinding), from which pages requests may come (Origin:
 * against cross-site requests), what a request may carry, and the headers of every answer. Works on Node's request, before anything is read.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { Refusal } from "./failures.ts";

export interface GuardOptions {
  /** Names beside localhost, 127.0.0.1 and [::1], with or without a port. */
  readonly allowedHosts: readonly string[];
  /** The port that the server listens on. */
  readonly port: () => number;
}

/** The studio's pages need no more than their own files, and pictures that they make themselves (blob:). */
const CONTENT_POLICY = [
  "default-src 'self'",
  "img-src 'self' blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

export const ANSWER_HEADERS: OutgoingHttpHeaders = {
  "x-content-type-options": "nosniff",
  "content-security-policy": CONTENT_POLICY,
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
};
const LOCAL = ["localhost", "127.0.0.1", "[::1]"];
const FORM_TYPES = /^(application\/x-www-form-urlencoded|text\/plain)/i;

/** Throws Refusal. */
export function guard(request: IncomingMessage, { allowedHosts, port }: GuardOptions): void {
  const { headers, rawHeaders, method = "GET", url = "/" } = request;
  const hosts = rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === "host");
  const host = headers.host ?? "";
  const allowed = (name: string) =>
    LOCAL.some((local) => name === `${local}:${port()}` || (port() === 80 && name === local)) ||
    allowedHosts.some((each) => name === each || name === `${each}:${port()}`);
  if (hosts.length !== 1 || !allowed(host)) {
    throw refused("E_HOST", host, "this server has other names", "use its address, or start it with --allow-host NAME");
  }
  const { origin } = headers;
  if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`) {
    throw refused("E_ORIGIN", origin, "pages of other origins may not ask this server", "ask from a page of its own");
  }
  const site = headers["sec-fetch-site"];
  const opensPage = method === "GET" && headers["sec-fetch-mode"] === "navigate" && url === "/";
  if (site === "cross-site" && !opensPage) {
    throw refused("E_ORIGIN", "", "pages of other sites may not ask this server", "ask from a page of its own");
  }
  if (headers["content-encoding"] !== undefined && headers["content-encoding"] !== "identity") {
    throw unsupported(headers["content-encoding"], "packed bodies are not taken", "send it as it is");
  }
  if (method === "GET" || method === "HEAD") return;
  const type = headers["content-type"];
  // A form of another site can send these without asking first.
  if (type !== undefined && FORM_TYPES.test(type))
    throw unsupported(type, "this kind of body is not taken", "send JSON");
  const multipart = type !== undefined && /^multipart\//i.test(type);
  if (multipart && headers.authorization === undefined && headers["x-solvay-upload"] === undefined) {
    throw unsupported(
      type,
      "a form needs a header that no page of another site can send",
      "send Authorization, or X-Solvay-Upload: 1",
    );
  }
}

export function setAnswerHeaders(response: ServerResponse): void {
  for (const [name, value] of Object.entries(ANSWER_HEADERS)) response.setHeader(name, value!);
}

function refused(code: string, subject: string, problem: string, next: string): Refusal {
  return new Refusal(403, { code, subject: subject.slice(0, 80), problem, next });
}

function unsupported(subject: string, problem: string, next: string): Refusal {
  return new Refusal(415, { code: "E_BODY", subject: subject.slice(0, 80), problem, next });
}
