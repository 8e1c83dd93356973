import { address } from "../api/client";
import { isPicture, pictureOf } from "../components/resultPictures";
import { baseName } from "../components/times";
import type { RunView } from "../graph/runView";
import { openFiles, sampleFile } from "../state/actions";
import { openDialog } from "../state/ui";
import { text } from "../text/en";

/** The files of a run, each with its actions. */
export function RunFiles({ run, view }: { run: string; view: RunView }) {
  if (view.artifacts.length === 0) return null;
  const files = view.artifacts.map((artifact) => ({ artifact, name: baseName(artifact.path) }));
  const shown = view.artifacts.filter(isPicture);
  const pictures = shown.map((artifact) => pictureOf(run, artifact));
  return (
    <section className="field-group">
      <h3>{text.files}</h3>
      <ul className="artifacts">
        {files.map(({ artifact, name }) => (
          <li key={name}>
            {isPicture(artifact) && (
              <button
                type="button"
                className="picture"
                aria-label={text.enlarge(name)}
                onClick={() =>
                  openDialog({
                    kind: "pictures",
                    request: { pictures, index: shown.indexOf(artifact) },
                  })
                }
              >
                <img src={address.artifact(run, name, 256)} alt={pictureOf(run, artifact).caption} loading="lazy" />
              </button>
            )}
            <a href={address.artifact(run, name)} download={name}>
              {name}
            </a>
            <span>{text.bytes(artifact.bytes)}</span>
            {artifact.caption && <small>{pictureOf(run, artifact).caption}</small>}
            <span className="buttons">
              <button type="button" className="plain" onClick={() => void openMadeBy(run, name)}>
                {text.openGraph}
              </button>
              {!isPicture(artifact) && (
                <button type="button" className="plain" onClick={() => void sampleFile(run, artifact)}>
                  {text.sample}
                </button>
              )}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** The graph that an artifact carries, opened as if the file had been dropped on the canvas. */
async function openMadeBy(run: string, name: string): Promise<void> {
  const response = await fetch(address.artifact(run, name));
  await openFiles([new File([await response.blob()], name)]);
}
