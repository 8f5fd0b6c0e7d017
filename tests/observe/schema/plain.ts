import type { Dashboard } from '@grafana/schema';

// JSON has words where TypeScript's enumerations have members: each is its word here, all else stays as it is.
type Plain<T> = T extends string
  ? `${T}`
  : T extends (infer Item)[]
    ? Plain<Item>[]
    : T extends object
      ? { [Key in keyof T]: Plain<T[Key]> }
      : T;

export type PlainDashboard = Plain<Dashboard>;
