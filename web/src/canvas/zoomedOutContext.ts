import { createContext, use } from "react";

/** Below this zoom nodes are too small to be read, and are drawn plainly. */
export const ZOOMED_OUT_BELOW = 0.4;
export const ZoomedOutContext = createContext(false);
export const useZoomedOut = (): boolean => use(ZoomedOutContext);
