/** Subgraphs: made from nodes, looked at, edited, and taken apart. */

export { collapse } from "./collapse";
export { describeSubgraph } from "./describe";
export { expand } from "./expand";
export { withInner } from "./inner";
export { innerDocument, SUBGRAPH, subgraphOf } from "./subgraphUse";
