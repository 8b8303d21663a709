// Real web content of a wanted length in which no two bodies are alike: words are exchanged for others of the same text, and each body has marks of its own.
import { bodies } from './bodies.mjs'

const KINDS = ['index.html', 'country.json', 'core.min.js', 'bootstrap.css', 'mt.svg'].map((name) => bodies.find((body) => body.name === name))
/** Texts of each kind and length; what is sent differs from them in the marks. */
const TEXTS = 12
const MARK_EVERY = 400

let state = 1
const random = (below) => (state = state * 48_271 % 2_147_483_647) % below

function variant (text, size) {
  const words = text.match(/[A-Za-z]{4,}/g)
  let made = ''
  while (made.length < size) made += text.replace(/[A-Za-z]{4,}/g, (word) => random(4) === 0 ? words[random(words.length)] : word)
  return Buffer.from(made.slice(0, size), 'latin1')
}

/** `next()` gives { type, body }, each time of another kind and never the same body twice; `texts` are what they are made of. `size`: bytes. */
export function uniqueBodies (size) {
  const texts = []
  for (let i = 0; i < TEXTS; i++) for (const { type, body } of KINDS) texts.push({ type, text: variant(body.toString('latin1'), size) })
  let [count, marks] = [0, 0]
  const next = () => {
    const { type, text } = texts[count++ % texts.length]
    const body = Buffer.from(text)
    for (let at = 100; at + 8 < size; at += MARK_EVERY) body.write((++marks * 7919 % 2_821_109_907_456).toString(36).padStart(8, '0'), at, 'latin1')
    return { type, body }
  }
  return { next, texts }
}
