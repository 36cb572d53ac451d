/** @file JSON as Python's json.load reads it, by which all config files of models are written: NaN, Infinity and -Infinity are numbers. */

/** A constant outside of strings, or a string, which is passed over. What stands beside a constant must be no part of a number. */
const TOKEN = /"(?:[^"\\]|\\.)*"|(?<![\w.+-])(?:NaN|-?Infinity)(?![\w.]|\s*:)/gs;

/** Stands for NaN, which JSON.parse has no text for. Who writes it into a file could have written NaN. */
const MARK = "\u0000NaN\u0000";

/**
 * The value of a JSON text. Of equal keys the last one counts. Integers beyond 2^53 are rounded, or with `exact` their digits as a
 * string. A byte order mark is passed over, which Python refuses.
 * @throws SyntaxError; RangeError where `exact` meets thousands of levels
 */
export function parsePythonJson(text: string, { exact = false }: { readonly exact?: boolean } = {}): unknown {
  const json = text.startsWith("\ufeff") ? text.slice(1) : text;
  try {
    return exact ? JSON.parse(json, exactInteger) : JSON.parse(json);
  } catch (error) {
    if (!/NaN|Infinity/.test(json)) throw error;
  }
  const plain = json.replace(TOKEN, (token) =>
    token === "NaN" ? JSON.stringify(MARK) : token.endsWith("Infinity") ? token.replace("Infinity", "1e999") : token,
  );
  return JSON.parse(plain, (key, value: unknown, context?: Source) => {
    if (value === MARK) return Number.NaN;
    return exact ? exactInteger(key, value, context) : value;
  });
}

/** What JSON.parse tells a reviver of a number's text. */
interface Source {
  readonly source?: string;
}

function exactInteger(_: string, value: unknown, { source = "" }: Source = {}): unknown {
  const rounded = typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source);
  return rounded ? source : value;
}
