/** @file The studio's words: every language has every key, the same {names} in each, and every plural that it tells apart has a text. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { de } from "../../studio/src/messages/de/index.ts";
import { en } from "../../studio/src/messages/en/index.ts";
import { he } from "../../studio/src/messages/he/index.ts";

type Message = string | Readonly<Record<string, string>>;

/** In a text or in all of its plurals. */
function namesIn(message: Message): string[] {
  const texts = typeof message === "string" ? [message] : Object.values(message);
  return [...new Set(texts.flatMap((text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!)))].sort();
}

for (const [language, words] of Object.entries({ de, he })) {
  test(`${language} has English's keys, with the same names in each`, () => {
    assert.deepEqual(Object.keys(words).sort(), Object.keys(en).sort());
    for (const [key, message] of Object.entries<Message>(en)) {
      const other = (words as Readonly<Record<string, Message>>)[key]!;
      assert.deepEqual(namesIn(other), namesIn(message), `${language} ${key}`);
      assert.equal(typeof other, typeof message, `${language} ${key}`);
      const texts = typeof other === "string" ? [other] : Object.values(other);
      for (const text of texts) assert.notEqual(text.trim(), "", `${language} ${key}`);
    }
  });
}
