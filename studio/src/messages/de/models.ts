/** @file Worte der Modelle und Adapter. */
export const models = {
  "nav.models": "Modelle",
  "models.models": "Grundmodelle",
  "models.served": "Welches malt",
  "models.open": "offen",
  "models.cached": "Im Hugging-Face-Cache",
  "models.cachedHint":
    "Importiert wird ein Modell am schnellsten gelesen. Um damit zu malen, starte den Server mit --model und seinem Namen.",
  "models.import": "Importieren",
  "models.importName": "{name} importieren",
  "models.importing": "{name} wird importiert",
  "models.imported": "Importiert",
  "models.adapters": "LoRAs und Embeddings",
  "models.search": "LoRAs und Embeddings suchen",
  "models.searchHint": "Name, Triggerwort, Ordner",
  "models.count": { one: "{count} Datei", other: "{count} Dateien" },
  "models.none":
    "Es wurden keine gefunden. Starte den Server mit --lora-dir, --embeddings-dir oder --models-dir und einem Ordner.",
  "models.more": "Mehr zeigen",
  "models.lora": "LoRA",
  "models.embedding": "Embedding",
  "models.use": "Nutzen",
  "models.useName": "{name} nutzen",
  "models.words": "Worte, auf die {name} hört",
  "models.inPrompt": "Jetzt im Prompt: {words}",
  "models.inUse": "Genutzte LoRAs",
  "models.drop": "{name} nicht mehr nutzen",
} as const;
