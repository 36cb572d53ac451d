/** @file מילים של רשתות. */
export const grid = {
  "nav.grid": "רשת",
  "grid.x": "לרוחב",
  "grid.y": "לאורך",
  "grid.z": "גיליונות",
  "grid.go": "ציור הרשת",
  "grid.field": "{axis}: מה משתנה",
  "grid.values": "{axis}: ערכים",
  "grid.none": "כלום",
  "grid.words": "מילים בהנחיה",
  "grid.wordsHint": "חתול, כלב, שועל",
  "grid.hint":
    "כל השאר כמו בטופס. ערכים בין פסיקים; 1-5, 20-40:10 ו־0.2-0.8 [4] הם טווחים. במילים: הראשונה מוחלפת באחרות.",
  "grid.add": "{axis}: הוספת ערך",
  "grid.addOne": "הוספה ...",
  "grid.done": { one: "{done} מתוך תמונה אחת", two: "{done} מתוך שתי תמונות", other: "{done} מתוך {count} תמונות" },
  "grid.size": "גודל התאים",
  "grid.later": {
    one: "עוד אחת מחכה למקום בתור",
    two: "עוד שתיים מחכות למקום בתור",
    other: "עוד {count} מחכות למקום בתור",
  },
  "grid.leaveOut": "לוותר עליהן",
} as const;
