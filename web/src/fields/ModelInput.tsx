import { FolderOpen } from "lucide-react";
import { useEffect, useState } from "react";
import { api } from "../api/client";
import type { ModelEntry } from "../api/types";
import { openDialog } from "../state/ui";
import { text } from "../text/en";
import type { WidgetProps } from "./props";

/** A model of the workspace, from a list or from a folder. */
export function ModelInput({ id, value, change, describedBy }: WidgetProps) {
  const models = useModels();
  const current = String(value ?? "");
  const listed = models.some((model) => model.reference === current);
  return (
    <span className="with-button">
      <select
        id={id}
        value={current}
        title={current}
        aria-describedby={describedBy}
        aria-invalid={describedBy !== undefined}
        onChange={(event) => change(event.target.value)}
      >
        {!listed && <option value={current}>{current}</option>}
        {models.map((model) => (
          <option key={model.reference} value={model.reference}>
            {model.title}
            {model.family ? ` (${model.family})` : ""}
          </option>
        ))}
      </select>
      <button
        type="button"
        className="icon"
        aria-label={text.browse}
        title={text.browse}
        onClick={() => openDialog({ kind: "files", wanted: "model", start: "", pictures: null, choose: change })}
      >
        <FolderOpen size={14} aria-hidden />
      </button>
    </span>
  );
}

let found: Promise<ModelEntry[]> | null = null;

/** The models of the workspace, asked for once per page. */
function useModels(): ModelEntry[] {
  const [models, setModels] = useState<ModelEntry[]>([]);
  useEffect(() => {
    found ??= api.models().then((reply) => reply.models);
    found.then(setModels, () => {
      found = null;
    });
  }, []);
  return models;
}
