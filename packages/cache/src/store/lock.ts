import { readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CacheStoreError } from '../errors.ts'

/** Folders that this process uses. */
const used: Set<string> = new Set()

/** When a process began, where the system tells: a number alone may be somebody else's by now, and in a container mostly is. */
function begin (pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

export function runs (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/**
 * Takes a folder for this process, or for all that share it, whose parent `owner` is then; returns how to give it back. Others would take each
 * other's files for rubbish. What a killed process left behind is taken over. Throws `HG_CACHE_STORE`.
 */
export function lock (path: string, owner: number): () => void {
  const folder = realpathSync(path)
  const file = join(folder, 'lock')
  const refuse = (user: string): never => {
    throw new CacheStoreError(`The folder ${path} is used by ${user}: give each store a folder of its own, or remove ${file} if that is no cache`)
  }
  if (owner === process.pid && used.has(folder)) refuse('this process')
  for (let tries = 0; ; tries++) {
    try {
      writeFileSync(file, `${owner} ${begin(owner)}`, { flag: 'wx' })
      break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || tries > 10) throw error
    }
    const [pid = '', since = ''] = readFileSync(file, 'utf8').split(' ')
    const same = begin(Number(pid)) === since
    if (owner !== process.pid && Number(pid) === owner && same) break
    if (Number(pid) > 0 && Number(pid) !== process.pid && runs(Number(pid)) && same) refuse(`process ${pid}`)
    rmSync(file, { force: true })
  }
  used.add(folder)
  return () => {
    used.delete(folder)
    // Those that share it may still be there; it ends with their parent.
    if (owner === process.pid) rmSync(file, { force: true })
  }
}
