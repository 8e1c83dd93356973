import { FolderOpen, Images, ImageUp } from "lucide-react";
import { UploadButton } from "../components/UploadButton";
import { isPictureFolder } from "../graph/palette";
import { askForDataSet } from "../state/dropping";
import { type FilesRequest, openDialog } from "../state/ui";
import { text } from "../text/en";
import type { WidgetProps } from "./props";

interface Props extends WidgetProps {
  wanted: FilesRequest["wanted"];
}

/** A path in the workspace, to type or to choose; for a folder of pictures, also to fill and to look at. */
export function PathInput({ id, node, field, value, change, describedBy, wanted }: Props) {
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
        onClick={() => openDialog({ kind: "files", wanted, start: path, pictures: takesPictures ? node : null, choose: change })}
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
