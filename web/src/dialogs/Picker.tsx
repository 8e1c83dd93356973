import { type ReactNode, useEffect, useRef, useState } from "react";
import { text } from "../text/en";
import { Frame } from "./Frame";

export interface Choice {
  key: string;
  label: ReactNode;
  note?: ReactNode;
  isDisabled?: boolean;
  choose: () => void;
}

interface Props {
  title: string;
  placeholder: string;
  find: (query: string) => Choice[];
  /** Shown beside the list, for the choice that the arrow keys have reached. */
  detail?: (key: string) => ReactNode;
}

/** A search field over a list: type, go with the arrow keys, take with Enter. */
export function Picker({ title, placeholder, find, detail }: Props) {
  const [query, setQuery] = useState("");
  const [active, setActive] = useState(0);
  const list = useRef<HTMLUListElement>(null);
  const choices = find(query);
  const current = Math.max(0, Math.min(active, choices.length - 1));
  useEffect(() => {
    void list.current?.children[current]?.scrollIntoView({ block: "nearest" });
  }, [current]);
  const go = (by: number) => setActive((current + by + choices.length) % Math.max(1, choices.length));
  return (
    <Frame title={title} kind={`picker${detail ? " wide" : ""}`} isPlain>
      <input
        className="picker-input"
        role="combobox"
        aria-expanded
        aria-controls="picker-list"
        aria-activedescendant={choices[current] ? `picker-${current}` : undefined}
        aria-label={title}
        placeholder={placeholder}
        value={query}
        spellCheck={false}
        onChange={(event) => {
          setQuery(event.target.value);
          setActive(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") go(1);
          else if (event.key === "ArrowUp") go(-1);
          else if (event.key === "Home" && query === "") setActive(0);
          else if (event.key === "End" && query === "") setActive(choices.length - 1);
          else if (event.key === "Enter" && choices[current] && !choices[current].isDisabled) choices[current].choose();
          else return;
          event.preventDefault();
        }}
      />
      <div className="picker-body">
        <ul id="picker-list" ref={list} role="listbox" aria-label={title}>
          {choices.map((choice, index) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the keys go to the search field
            <li
              key={choice.key}
              id={`picker-${index}`}
              role="option"
              aria-selected={index === current}
              aria-disabled={choice.isDisabled}
              onClick={() => !choice.isDisabled && choice.choose()}
              // a list that changes under a pointer at rest also sends this event
              onPointerMove={(event) => (event.movementX || event.movementY) && index !== current && setActive(index)}
            >
              <span className="label">{choice.label}</span>
              {choice.note && <span className="note">{choice.note}</span>}
            </li>
          ))}
          {choices.length === 0 && <li className="hint">{text.nothingFound}</li>}
        </ul>
        {detail && choices[current] && <aside>{detail(choices[current].key)}</aside>}
      </div>
    </Frame>
  );
}
