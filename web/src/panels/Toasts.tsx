import { X } from "lucide-react";
import { useRuns } from "../state/runs";
import { dismiss, useUi } from "../state/ui";
import { text } from "../text/en";

/** Short messages that go by themselves; errors stay until they are read. */
export function Toasts() {
  const toasts = useUi((state) => state.toasts);
  const isConnected = useRuns((state) => state.connected);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {!isConnected && <p className="toast warning">{text.offline}</p>}
      {toasts.map((toast) => (
        <div key={toast.id} className={`toast ${toast.level}`}>
          <p>{toast.text}</p>
          {toast.action && (
            <button
              type="button"
              onClick={() => {
                toast.action?.run();
                dismiss(toast.id);
              }}
            >
              {toast.action.label}
            </button>
          )}
          <button type="button" className="icon" aria-label={text.close} onClick={() => dismiss(toast.id)}>
            <X size={14} aria-hidden />
          </button>
        </div>
      ))}
    </div>
  );
}
