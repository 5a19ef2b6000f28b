import { initialLive, reduceLive, type LiveAction, type LiveState } from "./reducer";

/** Holds the state and tells React of it; all decisions are the reducer's. */
export class LiveStore {
  private state: LiveState;
  private readonly listeners = new Set<() => void>();

  constructor(state: LiveState = initialLive) {
    this.state = state;
  }

  readonly get = (): LiveState => this.state;

  readonly dispatch = (action: LiveAction): void => {
    this.state = reduceLive(this.state, action);
    for (const listener of this.listeners) listener();
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}
