/** @file Answers to what is no request of HTTP, or one that came too slowly or too large: Node's own would lack the headers of every answer. */
import type { Duplex } from "node:stream";
import { failed } from "./app.ts";
import { Refusal, type Status } from "./failures.ts";
import { ANSWER_HEADERS } from "./guard.ts";

const STATUSES: Readonly<Record<string, Status>> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 };
const NAMES: Readonly<Partial<Record<Status, string>>> = {
  ...{ 400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large" },
};

/** Of a server's "clientError" events: answers, and ends the connection. */
export async function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): Promise<void> {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = STATUSES[error.code ?? ""] ?? 400;
  const problem =
    status === 408
      ? "the request came too slowly"
      : status === 431
        ? "its headers are too large"
        : "it is no request of HTTP";
  const refusal = new Refusal(status, { code: "E_REQUEST", problem, next: "send it whole, and as HTTP has it" });
  const body = await failed("/", refusal).text();
  const headers = {
    ...ANSWER_HEADERS,
    ...{ "content-type": "application/json", "content-length": Buffer.byteLength(body), connection: "close" },
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  socket.end([`HTTP/1.1 ${status} ${NAMES[status] ?? ""}`, ...lines, "", body].join("\r\n"));
}
