/** @file Where one draws: the form, the picture that is drawn or was drawn last, and the latest ones. */
import "./draw.css";
import { useEffect } from "preact/hooks";
import { t } from "../../messages/translate.ts";
import { useCommands } from "../../shell/commands.ts";
import { route } from "../../shell/route.ts";
import { schema, setField } from "../../state/form.ts";
import { mode, setMode } from "../../state/settings.ts";
import { DrawForm } from "./draw-form.tsx";
import { draw } from "./drawing.ts";
import { fieldsOfQuery } from "./shared-link.ts";
import { Stage } from "./stage.tsx";

export default function DrawView() {
  const { query } = route.value;
  const fields = schema.value?.fields;
  // A link's settings come once the schema is there to read them by, and are then the form's.
  useEffect(() => {
    if (!fields || query.size === 0) return;
    for (const [name, value] of Object.entries(fieldsOfQuery(query, fields))) setField(name, value);
    history.replaceState(null, "", "#/draw");
  }, [fields, query]);
  useCommands(() => [
    { title: t("draw.go"), run: () => void draw(), keys: "Ctrl+Enter" },
    {
      title: t(mode.value === "simple" ? "settings.advanced" : "settings.simple"),
      run: () => setMode(mode.peek() === "simple" ? "advanced" : "simple"),
    },
  ]);
  return (
    <div class="draw">
      <h1 class="hidden">{t("nav.draw")}</h1>
      <DrawForm />
      <Stage />
    </div>
  );
}
