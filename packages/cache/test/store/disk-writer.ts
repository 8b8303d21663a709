// Stores responses without end, and says which are confirmed; the test kills it.
import { DiskStore } from '../../src/index.ts'
import { entry, put } from './helpers.ts'

const [path, round] = process.argv.slice(2) as [string, string]
const store = new DiskStore({ path })
await store.ready
await Promise.all([0, 1, 2, 3].map(async (worker) => {
  for (let i = 0; ; i++) {
    const letter = String.fromCharCode(97 + i % 26)
    const one = entry(`http://a.example/${round}/${worker}/${i}`, { 'x-letter': letter })
    if (await put(store, one, letter.repeat(1 + (i * 7919) % 300_000)) !== undefined) process.stdout.write(`${one.url}\n`)
    if (i % 3 === 0) store.update(one)
  }
}))
