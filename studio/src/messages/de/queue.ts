/** @file Worte der Warteschlange. */
export const queue = {
  "queue.empty": "Nichts wartet. Was du malst, steht dann hier.",
  "queue.running": "Wird gemalt",
  "queue.waiting": { one: "{count} Bild wartet", other: "{count} Bilder warten" },
  "queue.over": "Fertig",
  "queue.up": "Früher: {prompt}",
  "queue.down": "Später: {prompt}",
  "queue.first": "Nach vorn: {prompt}",
  "queue.cancel": "{prompt} abbrechen",
  "queue.cancelAll": "Alle wartenden abbrechen",
  "queue.retry": "Noch einmal: {prompt}",
  "queue.ready": "fertig in etwa {time}",
  "queue.all": "alle fertig in etwa {time}",
  "queue.done": "Fertig",
  "queue.failed": "Fehlgeschlagen",
  "queue.cancelled": "Abgebrochen",
} as const;
