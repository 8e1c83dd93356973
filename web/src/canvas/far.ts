import { createContext, use } from "react";

/** Below this zoom nodes are too small to be read, and are drawn plainly. */
export const FAR_ZOOM = 0.4;
export const FarContext = createContext(false);
export const useFar = (): boolean => use(FarContext);
