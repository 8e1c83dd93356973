import {
  Command,
  FolderOpen,
  Keyboard,
  LayoutTemplate,
  Map as MapIcon,
  Maximize,
  Moon,
  Plus,
  Redo2,
  Save,
  StickyNote,
  Sun,
  SunMoon,
  Undo2,
  Wand2,
} from "lucide-react";
import { COMMANDS, keysOf } from "../state/commands";
import { useUi } from "../state/ui";
import { text } from "../text/en";

const GROUPS = [
  ["addNode", "templates", "open", "save"],
  ["undo", "redo"],
  ["arrange", "note", "fit", "minimap"],
] as const;
const ICONS = {
  addNode: Plus,
  templates: LayoutTemplate,
  open: FolderOpen,
  save: Save,
  undo: Undo2,
  redo: Redo2,
  arrange: Wand2,
  note: StickyNote,
  fit: Maximize,
  minimap: MapIcon,
  commandPalette: Command,
  shortcuts: Keyboard,
};
const THEMES = { system: SunMoon, dark: Moon, light: Sun };

/** The commands that are wanted most, at the left edge. */
export function Rail() {
  const theme = useUi((state) => state.theme);
  return (
    <nav className="rail" aria-label={text.tools}>
      {GROUPS.map((group) => (
        <div key={group[0]}>
          {group.map((id) => (
            <RailButton key={id} id={id} icon={ICONS[id]} />
          ))}
        </div>
      ))}
      <div className="spacer" />
      <RailButton id="commandPalette" icon={ICONS.commandPalette} />
      <RailButton id="theme" icon={THEMES[theme]} label={text.theme[theme]} />
      <RailButton id="shortcuts" icon={ICONS.shortcuts} />
    </nav>
  );
}

function RailButton({ id, icon: Icon, label }: { id: keyof typeof text.commands; icon: typeof Plus; label?: string }) {
  const command = COMMANDS.find((each) => each.id === id);
  if (!command) return null;
  const keys = keysOf(command);
  const name = label ?? text.commands[id];
  return (
    <button
      type="button"
      className="icon"
      aria-label={name}
      title={keys ? `${name} (${keys.replace("Mod", "Ctrl")})` : name}
      onClick={() => void command.run()}
    >
      <Icon size={18} aria-hidden />
    </button>
  );
}
