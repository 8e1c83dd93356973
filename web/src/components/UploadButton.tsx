import type { ReactNode } from "react";
import type { Dropped } from "../graph/dropped";

interface Props {
  label: string;
  /** A whole folder instead of files. */
  isFolder?: boolean;
  accept?: string[];
  /** Shown in the place of the label. */
  icon?: ReactNode;
  take: (files: Dropped[]) => void;
}

/** Asks the browser for files, or for a folder with all that is in it. */
export function UploadButton({ label, isFolder = false, accept, icon, take }: Props) {
  return (
    <label className={icon ? "button icon" : "button"} title={label}>
      {icon ?? label}
      <input
        type="file"
        multiple
        className="hidden"
        aria-label={label}
        accept={accept?.join(",")}
        {...(isFolder && { webkitdirectory: "" })}
        onChange={(event) => {
          const files = [...(event.target.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
          event.target.value = ""; // the same files may be chosen again
          if (files.length > 0) take(files);
        }}
      />
    </label>
  );
}
