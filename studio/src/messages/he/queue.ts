/** @file מילים של התור. */
export const queue = {
  "queue.empty": "אין דבר ממתין. מה שתצייר יופיע כאן.",
  "queue.running": "בציור",
  "queue.waiting": { one: "תמונה אחת ממתינה", two: "שתי תמונות ממתינות", other: "{count} תמונות ממתינות" },
  "queue.over": "הסתיימו",
  "queue.up": "מוקדם יותר: {prompt}",
  "queue.down": "מאוחר יותר: {prompt}",
  "queue.first": "לראש התור: {prompt}",
  "queue.cancel": "ביטול {prompt}",
  "queue.cancelAll": "ביטול כל הממתינים",
  "queue.retry": "ניסיון נוסף: {prompt}",
  "queue.ready": "מוכן בעוד כ־{time}",
  "queue.all": "הכול מוכן בעוד כ־{time}",
  "queue.done": "הושלם",
  "queue.failed": "נכשל",
  "queue.cancelled": "בוטל",
} as const;
