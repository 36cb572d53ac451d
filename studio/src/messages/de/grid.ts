/** @file Worte der Raster. */
export const grid = {
  "nav.grid": "Raster",
  "grid.x": "Quer",
  "grid.y": "Hinunter",
  "grid.z": "Blätter",
  "grid.go": "Raster malen",
  "grid.field": "{axis}: was sich ändert",
  "grid.values": "{axis}: Werte",
  "grid.none": "Nichts",
  "grid.words": "Worte des Prompts",
  "grid.wordsHint": "Katze, Hund, Fuchs",
  "grid.hint":
    "Alles andere ist, wie das Formular es hat. Werte zwischen Kommas; 1-5, 20-40:10 und 0.2-0.8 [4] sind Reihen. Bei Worten: Das erste wird durch die anderen ersetzt.",
  "grid.add": "{axis}: Wert hinzufügen",
  "grid.addOne": "Dazu ...",
  "grid.done": { one: "{done} von {count} Bild", other: "{done} von {count} Bildern" },
  "grid.size": "Größe der Felder",
  "grid.later": {
    one: "{count} weiteres wartet auf Platz in der Warteschlange",
    other: "{count} weitere warten auf Platz in der Warteschlange",
  },
  "grid.leaveOut": "Weglassen",
} as const;
