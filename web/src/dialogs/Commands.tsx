import { RotateCcw } from "lucide-react";
import { useState } from "react";
import { describe } from "../graph/describe";
import { nodesOf } from "../graph/document";
import { rank } from "../graph/search";
import { COMMANDS, type Command, keysOf, pressed } from "../state/commands";
import { currentTab, shownDocument, useEditor } from "../state/editor";
import { openDialog, prefer, useUi } from "../state/ui";
import { view } from "../state/view";
import { text } from "../text/en";
import { Frame } from "./Frame";
import { type Choice, Picker } from "./Picker";

const title = (command: Command) => text.commands[command.id as keyof typeof text.commands];

/** Every command by name. */
export function CommandPalette() {
  const find = (query: string): Choice[] => {
    const byId = new Map(COMMANDS.map((command) => [command.id, command]));
    const found = rank(
      query,
      COMMANDS.filter((command) => command.id !== "commandPalette").map((command) => ({
        key: command.id,
        texts: [[title(command), 1]],
      })),
    );
    return found.flatMap(({ key }) => {
      const command = byId.get(key);
      if (!command) return [];
      const choose = () => {
        openDialog(null);
        setTimeout(() => void command.run()); // a command may open the next dialog
      };
      return [{ key, label: title(command), note: <Keys keys={keysOf(command)} />, choose }];
    });
  };
  return <Picker title={text.commands.commandPalette} placeholder={text.commandPlaceholder} find={find} />;
}

/** Finds a node of this graph by id, title, class or a field's text, and goes there. */
export function FindInGraph() {
  const tab = currentTab();
  const document = tab && shownDocument(tab);
  const { palette } = useEditor.getState();
  const find = (query: string): Choice[] => {
    if (!document) return [];
    const entries = Object.entries(nodesOf(document)).map(([id, entry]) => {
      const words = Object.values(entry.fields ?? {}).filter((value): value is string => typeof value === "string");
      const heading = entry.title || describe(document, palette, id)?.title || entry.type;
      return {
        key: id,
        texts: [[id, 1], [heading, 1], [entry.type, 0.8], ...words.map((word): [string, number] => [word, 0.5])] as [
          string,
          number,
        ][],
      };
    });
    return rank(query, entries).map(({ key }) => ({
      key,
      label: key,
      note: nodesOf(document)[key]?.type,
      choose: () => {
        openDialog(null);
        view.show(key);
      },
    }));
  };
  return <Picker title={text.commands.find} placeholder={text.findPlaceholder} find={find} />;
}

/** All shortcuts; each can be changed by pressing other keys. */
export function Shortcuts() {
  const own = useUi((state) => state.keys);
  const [waiting, setWaiting] = useState("");
  const set = (id: string, keys: string) => {
    const taken = COMMANDS.find((command) => keys && keysOf(command) === keys && command.id !== id);
    prefer({ keys: { ...own, [id]: keys, ...(taken && { [taken.id]: "" }) } });
    setWaiting("");
  };
  return (
    <Frame
      title={text.commands.shortcuts}
      kind="shortcuts"
      tools={
        <button type="button" onClick={() => prefer({ keys: {} })}>
          {text.resetShortcuts}
        </button>
      }
    >
      <p className="hint">{text.shortcutsHint}</p>
      <table>
        <tbody>
          {COMMANDS.map((command) => (
            <tr key={command.id}>
              <th scope="row">{title(command)}</th>
              <td>
                <button
                  type="button"
                  className={waiting === command.id ? "keys waiting" : "keys"}
                  onClick={() => setWaiting(command.id)}
                  onBlur={() => setWaiting("")}
                  onKeyDown={(event) => {
                    if (waiting !== command.id || ["Control", "Shift", "Alt", "Meta", "Tab"].includes(event.key)) return;
                    event.preventDefault();
                    event.stopPropagation();
                    if (event.key === "Escape") setWaiting("");
                    else set(command.id, pressed(event.nativeEvent));
                  }}
                >
                  <span className="hidden">{text.changeKeys(title(command))} </span>
                  {waiting === command.id ? text.pressKeys : <Keys keys={own[command.id] ?? command.keys} />}
                </button>
                {own[command.id] !== undefined && (
                  <button
                    type="button"
                    className="icon"
                    aria-label={text.reset(title(command))}
                    onClick={() => prefer({ keys: Object.fromEntries(Object.entries(own).filter(([id]) => id !== command.id)) })}
                  >
                    <RotateCcw size={13} aria-hidden />
                  </button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Frame>
  );
}

const isMac = navigator.platform.startsWith("Mac");

export function Keys({ keys }: { keys: string }) {
  if (!keys) return null;
  const parts = keys === "+" ? ["+"] : keys.split(/\+(?=.)/);
  return (
    <span className="kbd">
      {parts.map((part) => (
        <kbd key={part}>{part === "Mod" ? (isMac ? "⌘" : "Ctrl") : (text.keyNames[part as "ArrowLeft"] ?? part)}</kbd>
      ))}
    </span>
  );
}
