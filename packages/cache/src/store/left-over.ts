import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runs } from './lock.ts'

/**
 * Removes what processes were writing when they were killed: their number begins the name. `shared`: others may be writing now. Before anything
 * is written by this one, therefore at once.
 */
export function sweep (folder: string, shared: boolean): void {
  for (const name of readdirSync(folder)) {
    const pid = Number.parseInt(name, 10)
    if (!(shared && pid > 0 && runs(pid))) rmSync(join(folder, name), { force: true })
  }
}
