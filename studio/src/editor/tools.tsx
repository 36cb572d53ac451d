/**
 * @file The editor's tools: brush or eraser, how large and how soft; one step back and forth; all, nothing, the opposite; a part that is drawn by itself
 * and what it shall show; done.
 */
import { t } from "../messages/translate.ts";
import { Choice } from "../parts/choice.tsx";
import { Icon } from "../parts/icon.tsx";
import { PartPrompt } from "../parts/part-prompt.tsx";
import type { Brush, Painting } from "./painting.ts";

export type Tool = "paint" | "erase" | "part";

interface PaintingToolsProps {
  readonly painting: Painting | undefined;
  readonly canUndo: boolean;
  readonly canRedo: boolean;
  readonly brush: Brush;
  readonly image: HTMLImageElement;
  readonly onBrush: (brush: Brush) => void;
}

interface ToolsProps extends PaintingToolsProps {
  readonly tool: Tool;
  /** A part was pulled up. */
  readonly hasRegion: boolean;
  readonly onTool: (tool: Tool) => void;
  readonly onClose: () => void;
  readonly onDone: () => void;
}

export function EditorTools({ tool, hasRegion, onTool, onClose, onDone, ...painting }: ToolsProps) {
  return (
    <div class="tools" role="toolbar" aria-label={t("editor.tools")}>
      <Choice
        label={t("editor.tool")}
        value={tool}
        options={[
          ["paint", t("editor.brush")],
          ["erase", t("editor.eraser")],
          ["part", t("editor.part")],
        ]}
        onChange={onTool}
      />
      {tool === "part" ? <PartPrompt disabled={!hasRegion} /> : <PaintingTools {...painting} />}
      <div class="tool-group end">
        <button type="button" onClick={onClose}>
          {t("app.cancel")}
        </button>
        <button type="button" class="primary" onClick={onDone}>
          {t("editor.done")}
        </button>
      </div>
      <p class="hint">{t(tool === "part" ? "editor.partHint" : "editor.hint")}</p>
    </div>
  );
}

function PaintingTools({ painting, canUndo, canRedo, brush, image, onBrush }: PaintingToolsProps) {
  const largest = Math.max(8, Math.round(Math.max(image.naturalWidth, image.naturalHeight) / 3));
  return (
    <>
      <label class="tool-slider">
        {t("editor.size")}
        <input
          type="range"
          min={1}
          max={largest}
          value={brush.radius}
          onInput={({ currentTarget }) => onBrush({ ...brush, radius: Number(currentTarget.value) })}
        />
      </label>
      <label class="tool-slider">
        {t("editor.softness")}
        <input
          type="range"
          min={0}
          max={1}
          step={0.05}
          value={brush.softness}
          onInput={({ currentTarget }) => onBrush({ ...brush, softness: Number(currentTarget.value) })}
        />
      </label>
      <div class="tool-group">
        <button
          type="button"
          class="icon-only"
          aria-label={t("app.undo")}
          title={`${t("app.undo")} (Ctrl+Z)`}
          disabled={!canUndo}
          onClick={() => painting?.undo()}
        >
          <Icon name="undo" />
        </button>
        <button
          type="button"
          class="icon-only"
          aria-label={t("editor.redo")}
          title={`${t("editor.redo")} (Ctrl+Shift+Z)`}
          disabled={!canRedo}
          onClick={() => painting?.redo()}
        >
          <Icon name="redo" />
        </button>
        <button type="button" onClick={() => painting?.fill()}>
          {t("editor.all")}
        </button>
        <button type="button" onClick={() => painting?.clear()}>
          {t("editor.nothing")}
        </button>
        <button type="button" onClick={() => painting?.invert()}>
          {t("editor.invert")}
        </button>
      </div>
    </>
  );
}
