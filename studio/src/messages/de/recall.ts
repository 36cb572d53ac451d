/** @file Worte um Einstellungen, die aus einem Bild kommen. */
export const recall = {
  "recall.title": "So entstand dieses Bild",
  "recall.drop": "Bild hier ablegen, um seine Einstellungen zu bekommen",
  "recall.noPicture": "Das ist kein PNG, JPEG oder WebP.",
  "recall.nothing": "Dieses Bild sagt nicht, wie es entstand.",
  "recall.exact": "Entsteht Byte für Byte genauso",
  "recall.other": "Wird ein wenig anders",
  "recall.withoutSeed": "Ohne Seed",
  "recall.promptOnly": "Nur den Prompt",
  "recall.begin": "Mit diesem Bild beginnen",
  "recall.template": "Vorlage",
  "recall.drawn": "Daraus",
  "recall.tool": "Gemacht mit {tool}",
} as const;
