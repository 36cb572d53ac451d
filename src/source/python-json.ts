/** @file JSON as Python's json.load reads it, by which all config files of models are written: NaN, Infinity and -Infinity are numbers. */

/** A constant outside of strings, or a string, which is passed over. What stands beside a constant must be no part of a number. */
const TOKEN = /"(?:[^"\\]|\\.)*"|(?<![\w.+-])(?:NaN|-?Infinity)(?![\w.]|\s*:)/gs;

/** Stands for NaN, which JSON.parse has no text for. Who writes it into a file could have written NaN. */
const MARK = "\u0000NaN\u0000";

/**
 * The value of a JSON text. Of equal keys the last one counts, integers beyond 2^53 are rounded. A byte order mark is passed over,
 * which Python refuses.
 * @throws SyntaxError
 */
export function parsePythonJson(text: string): unknown {
  const json = text.startsWith("\ufeff") ? text.slice(1) : text;
  try {
    return JSON.parse(json);
  } catch (error) {
    if (!/NaN|Infinity/.test(json)) throw error;
  }
  const plain = json.replace(TOKEN, (token) =>
    token === "NaN" ? JSON.stringify(MARK) : token.endsWith("Infinity") ? token.replace("Infinity", "1e999") : token,
  );
  return JSON.parse(plain, (_, value: unknown) => (value === MARK ? Number.NaN : value));
}
