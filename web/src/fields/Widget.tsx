import { Dices, FolderOpen, Images, ImageUp } from "lucide-react";
import { useEffect, useState } from "react";
import { api } from "../api/client";
import type { ModelEntry } from "../api/types";
import { UploadButton } from "../components/UploadButton";
import { isPictureFolder } from "../graph/palette";
import { askForDataSet } from "../state/dropping";
import { useEditor } from "../state/editor";
import { openDialog } from "../state/ui";
import { text } from "../text/en";
import { NumberInput } from "./NumberInput";
import { PackageWidget } from "./PackageWidget";
import type { WidgetProps } from "./props";

/** The control that fits a field: its package's own, or that of its kind. */
export function Widget(props: WidgetProps) {
  const isBrought = useEditor((state) => state.widgets.has(props.field.widget));
  const plain = <KindWidget {...props} />;
  if (!isBrought) return plain;
  // what one module could not do says nothing of the module of another node that takes the place
  return (
    <PackageWidget key={`${props.id} ${props.field.widget}`} {...props}>
      {plain}
    </PackageWidget>
  );
}

function KindWidget(props: WidgetProps) {
  const { id, field, value, change, describedBy } = props;
  const common = { id, "aria-describedby": describedBy, "aria-invalid": describedBy !== undefined };
  switch (field.kind) {
    case "integer":
    case "number":
      return <NumberInput {...props} />;
    case "seed":
      return (
        <span className="with-button">
          <NumberInput {...props} />
          <button
            type="button"
            className="icon"
            aria-label={text.randomise}
            title={text.randomise}
            onClick={() => change(randomSeed())}
          >
            <Dices size={14} aria-hidden />
          </button>
        </span>
      );
    case "switch":
      return (
        <button
          type="button"
          {...common}
          className="switch"
          role="switch"
          aria-checked={Boolean(value)}
          onClick={() => change(!value)}
        >
          <span />
        </button>
      );
    case "choice":
      return (
        <select {...common} value={String(value)} onChange={(event) => change(event.target.value)}>
          {field.choices.map((choice) => (
            <option key={choice}>{choice}</option>
          ))}
        </select>
      );
    case "color":
      return <input type="color" {...common} value={String(value)} onChange={(event) => change(event.target.value)} />;
    case "prompt":
      return (
        <textarea
          {...common}
          className="nowheel"
          rows={3}
          value={String(value ?? "")}
          spellCheck={false}
          onChange={(event) => change(event.target.value)}
        />
      );
    case "model":
      return <ModelInput {...props} />;
    case "workspace-folder":
    case "workspace-file":
    case "workspace-path":
      return <PathInput {...props} />;
    case "text":
      return (
        <input
          type="text"
          {...common}
          value={String(value ?? "")}
          spellCheck={false}
          onChange={(event) => change(event.target.value)}
        />
      );
  }
}

const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;

function PathInput({ id, node, field, value, change, describedBy }: WidgetProps) {
  const kind = field.kind === "workspace-file" || field.kind === "workspace-path" ? field.kind : "workspace-folder";
  const path = String(value ?? "");
  const takesPictures = isPictureFolder(field);
  return (
    <span className="with-button">
      <input
        id={id}
        type="text"
        value={path}
        title={path}
        aria-describedby={describedBy}
        aria-invalid={describedBy !== undefined}
        spellCheck={false}
        onChange={(event) => change(event.target.value)}
      />
      <button
        type="button"
        className="icon"
        aria-label={text.browse}
        title={text.browse}
        onClick={() =>
          openDialog({ kind: "files", wanted: kind, start: path, pictures: takesPictures ? node : null, choose: change })
        }
      >
        <FolderOpen size={14} aria-hidden />
      </button>
      {takesPictures && !path && (
        <UploadButton
          label={text.uploadPictures}
          icon={<ImageUp size={14} aria-hidden />}
          take={(files) => askForDataSet(files, node)}
        />
      )}
      {takesPictures && path && (
        <button
          type="button"
          className="icon"
          aria-label={text.showPictures}
          title={text.showPictures}
          onClick={() => openDialog({ kind: "dataset", node, folder: path })}
        >
          <Images size={14} aria-hidden />
        </button>
      )}
    </span>
  );
}

function ModelInput({ id, value, change, describedBy }: WidgetProps) {
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
