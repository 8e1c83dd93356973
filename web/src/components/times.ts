/** Small helpers for what panels say. */

export const baseName = (path: string): string => path.split(/[\\/]/).pop() ?? path;

/** `2 min ago`, or the date when that is long past; times in seconds since 1970. */
export function ago(seconds: number, now = Date.now() / 1000): string {
  const passed = Math.max(0, now - seconds);
  const units: [number, Intl.RelativeTimeFormatUnit][] = [
    [60, "second"],
    [3600, "minute"],
    [86400, "hour"],
    [7 * 86400, "day"],
  ];
  const sizes: Record<string, number> = { second: 1, minute: 60, hour: 3600, day: 86400 };
  const unit = units.find(([limit]) => passed < limit)?.[1];
  if (!unit) return new Date(seconds * 1000).toLocaleDateString();
  return new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(-Math.round(passed / (sizes[unit] ?? 1)), unit);
}

/** `1:05` or `2:03:10`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number) => String(value).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
