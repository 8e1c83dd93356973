import { Redo2, Undo2 } from "lucide-react";
import { useEffect, useMemo, useState } from "react";
import { address, api } from "../api/client";
import type { Dataset, DatasetItem } from "../api/types";
import { addTag, type Captions, changes, removeTag, replaceText, written } from "../graph/captions";
import { nodesOf } from "../graph/document";
import { begin, type History, record, redo, undo } from "../graph/history";
import { attempt } from "../state/actions";
import { currentTab, shownDocument } from "../state/editor";
import { checkCurrent } from "../state/sync";
import { openDialog, toast } from "../state/ui";
import { text } from "../text/en";
import { Frame } from "./Frame";

interface Props {
  node: string;
  folder: string;
}

/** The pictures of a folder with their captions. */
export function DatasetView({ node, folder }: Props) {
  const [dataset, setDataset] = useState<Dataset>();
  useEffect(() => {
    void load(node, folder).then((found) => (found ? setDataset(found) : openDialog(null)));
  }, [node, folder]);
  return dataset ? <CaptionEditor folder={folder} loaded={dataset} /> : null;
}

/** Edits are written beside the pictures when they are saved. */
function CaptionEditor({ folder, loaded }: { folder: string; loaded: Dataset }) {
  const [items, setItems] = useState(loaded.items);
  const [history, setHistory] = useState<History<Captions>>(() => begin(captionsOf(items)));
  const [filter, setFilter] = useState("");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const captions = history.present;
  const changed = useMemo(() => changes(captionsOf(items), captions), [items, captions]);
  const count = Object.keys(changed).length;
  const shown = items.filter((item) => `${item.name} ${captions[item.name]}`.toLowerCase().includes(filter.toLowerCase()));
  const change = (next: Captions, key = "") => setHistory((before) => record(before, next, key));
  const scope = chosen.size > 0 ? [...chosen] : shown.map((item) => item.name);
  const changeAll = (work: (caption: string) => string) =>
    change({ ...captions, ...Object.fromEntries(scope.map((name) => [name, work(captions[name] ?? "")])) });
  const save = async () => {
    const seen = Object.fromEntries(items.map((item) => [item.name, item.caption]));
    if ((await attempt(api.saveCaptions(folder, changed, seen).then(() => true))) !== true) return;
    setItems(items.map((item) => ({ ...item, caption: changed[item.name]?.trim() ?? item.caption })));
    setHistory((now) => ({ ...now, present: written(now.present, changed) }));
    toast(text.captionsSaved(count));
    void checkCurrent();
  };
  return (
    <Frame
      title={folder}
      kind="dataset"
      unsaved={count > 0 ? text.loseCaptions(count) : ""}
      tools={<Tools history={history} setHistory={setHistory} count={count} save={save} />}
    >
      <div className="dataset-tools">
        <input
          type="search"
          placeholder={text.filter}
          aria-label={text.filter}
          value={filter}
          onChange={(event) => setFilter(event.target.value)}
        />
        <Bulk count={scope.length} apply={changeAll} />
        <Summary items={items} />
      </div>
      {loaded.notes.length > 0 && (
        <ul className="notes" aria-label={text.datasetNotes}>
          {loaded.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
      <ul className="pictures-grid">
        {shown.map((item) => (
          <Item
            key={item.name}
            item={item}
            caption={captions[item.name] ?? ""}
            isChosen={chosen.has(item.name)}
            choose={() => setChosen((before) => toggled(before, item.name))}
            change={(caption) => change({ ...captions, [item.name]: caption }, item.name)}
          />
        ))}
      </ul>
      {shown.length === 0 && <p className="hint">{text.nothingFound}</p>}
    </Frame>
  );
}

const captionsOf = (items: DatasetItem[]): Captions => Object.fromEntries(items.map((item) => [item.name, item.caption ?? ""]));

interface ToolsProps {
  history: History<Captions>;
  setHistory: (change: (history: History<Captions>) => History<Captions>) => void;
  count: number;
  save: () => Promise<void>;
}

function Tools({ history, setHistory, count, save }: ToolsProps) {
  return (
    <>
      <button
        type="button"
        className="icon"
        aria-label={text.commands.undo}
        disabled={history.past.length === 0}
        onClick={() => setHistory(undo)}
      >
        <Undo2 size={16} aria-hidden />
      </button>
      <button
        type="button"
        className="icon"
        aria-label={text.commands.redo}
        disabled={history.future.length === 0}
        onClick={() => setHistory(redo)}
      >
        <Redo2 size={16} aria-hidden />
      </button>
      <button type="button" className="primary" disabled={count === 0} onClick={() => void save()}>
        {text.saveCaptions(count)}
      </button>
    </>
  );
}

/** Sizes come from the node that reads the folder. */
async function load(node: string, folder: string): Promise<Dataset | undefined> {
  const tab = currentTab();
  const fields = tab && nodesOf(shownDocument(tab))[node]?.fields;
  const number = (name: string, otherwise: number) => (typeof fields?.[name] === "number" ? (fields[name] as number) : otherwise);
  return attempt(
    api.dataset(
      folder,
      number("resolution", 128),
      fields?.buckets === true,
      number("bucket_step", 64),
      number("max_repeats", 100),
    ),
  );
}

function toggled(set: ReadonlySet<string>, name: string): Set<string> {
  const next = new Set(set);
  if (!next.delete(name)) next.add(name);
  return next;
}

function Bulk({ count, apply }: { count: number; apply: (work: (caption: string) => string) => void }) {
  const [tag, setTag] = useState("");
  const [other, setOther] = useState("");
  return (
    <fieldset className="bulk">
      <legend>{text.bulk(count)}</legend>
      <input placeholder={text.tag} aria-label={text.tag} value={tag} onChange={(event) => setTag(event.target.value)} />
      <button type="button" disabled={!tag.trim()} onClick={() => apply((caption) => addTag(caption, tag))}>
        {text.addTag}
      </button>
      <button type="button" disabled={!tag.trim()} onClick={() => apply((caption) => removeTag(caption, tag))}>
        {text.removeTag}
      </button>
      <input
        placeholder={text.replacement}
        aria-label={text.replacement}
        value={other}
        onChange={(event) => setOther(event.target.value)}
      />
      <button type="button" disabled={!tag} onClick={() => apply((caption) => replaceText(caption, tag, other))}>
        {text.replaceTag}
      </button>
    </fieldset>
  );
}

function Summary({ items: all }: { items: DatasetItem[] }) {
  const buckets = Map.groupBy(
    all.filter((item) => item.bucket),
    (item) => item.bucket,
  );
  const without = all.filter((item) => item.caption === null).length;
  const samples = all.filter((item) => !item.problem).reduce((sum, item) => sum + item.repeats, 0);
  return (
    <p className="summary">
      {text.pictureCount(all.length)}
      {all.some((item) => item.repeats > 1) && ` · ${text.withRepeats(samples)}`}
      {without > 0 && ` · ${text.withoutCaption(without)}`}
      {[...buckets].map(([size, items]) => (
        <span key={size} className="chip">
          {size} <b>{items.length}</b>
        </span>
      ))}
    </p>
  );
}

interface ItemProps {
  item: DatasetItem;
  caption: string;
  isChosen: boolean;
  choose: () => void;
  change: (caption: string) => void;
}

function Item({ item, caption, isChosen, choose, change }: ItemProps) {
  return (
    <li className={isChosen ? "chosen" : ""}>
      <button
        type="button"
        className="picture"
        aria-pressed={isChosen}
        aria-label={text.choosePicture(item.name)}
        onClick={choose}
      >
        <img src={address.content(item.path, 256)} alt={caption || item.name} loading="lazy" />
      </button>
      <textarea
        rows={2}
        value={caption}
        aria-label={text.captionOf(item.name)}
        placeholder={text.noCaption}
        onChange={(event) => change(event.target.value)}
      />
      <small title={item.name}>
        {item.name} · {item.width}×{item.height}
        {item.repeats > 1 && ` · ${text.repeated(item.repeats)}`}
        {item.problem && <strong className="problem"> {item.problem}</strong>}
      </small>
    </li>
  );
}
