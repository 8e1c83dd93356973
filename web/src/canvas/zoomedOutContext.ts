import { createContext, use } from "react";

/** The zoom below which nodes are too small to read, and are drawn in a simple form. */
export const ZOOMED_OUT_BELOW = 0.4;
export const ZoomedOutContext = createContext(false);
export const useZoomedOut = (): boolean => use(ZoomedOutContext);
