/** @file Worte der Bilder neben dem Prompt. */
export const likeness = {
  "likeness.title": "Nach einem Bild",
  "likeness.add": "Leg ein Bild ab, nach dessen Inhalt oder Stil sich das neue richtet",
  "likeness.another": "Leg noch ein Bild ab, nach dem es sich auch richtet",
  "likeness.none":
    "Es wurden keine IP-Adapter gefunden. Starte den Server mit --ip-adapter-dir und einem Ordner mit ihnen und ihren Bild-Encodern.",
  "likeness.adapter": "IP-Adapter",
  "likeness.picture": "Bild als Vorbild",
  "likeness.more": "Noch ein Bild",
  "likeness.needsPicture": "Leg ein Bild ab, nach dem sich das neue richten soll.",
  "likeness.mask": "Nur hier",
  "likeness.maskHint": "Leg eine Maske ab, damit es nur zählt, wo sie weiß ist.",
  "likeness.weight": "Wie viel es zählt",
  "likeness.fitting": "der passende",
  "likeness.part.encoder": "Bild-Encoder",
  "likeness.part.start": "Es zählt ab diesem Anteil der Schritte",
  "likeness.part.end": "Es zählt bis zu diesem Anteil der Schritte",
} as const;
