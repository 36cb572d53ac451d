/** @file The log of servers and workers: a line of JSON for each entry, without the secrets that errors may carry along. */
import pino, { type DestinationStream, type Logger } from "pino";

/** A password in a URL, wherever one got into a text. */
const PASSWORD = /(\w+:\/\/[^\s:/@]*):[^\s@/]+@/g;

export function openLogger(logs: DestinationStream): Logger {
  const shown = { write: (line: string) => logs.write(line.replace(PASSWORD, "$1:...@")) };
  return pino({ redact: ["*.authorization", "authorization", "*.cookie", "*.password"], base: null }, shown);
}
