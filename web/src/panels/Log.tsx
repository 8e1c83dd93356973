import type { LogLine } from "../graph/runView";
import { goTo } from "../state/graphActions";
import { text } from "../text/en";

/** Messages of nodes, oldest first. */
export function Log({ lines }: { lines: LogLine[] }) {
  return (
    <section className="field-group">
      <h3>{text.log}</h3>
      <ol className="log">
        {lines.slice(-500).map((line, index) => (
          <li key={index} className={line.level}>
            <button type="button" className="plain" onClick={() => goTo(line.node)}>
              {line.node}
            </button>{" "}
            {line.text}
          </li>
        ))}
      </ol>
    </section>
  );
}
