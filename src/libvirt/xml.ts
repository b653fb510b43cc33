// XML in and out: a small tree of our own around xml2js, so that its loosely typed objects stay in this file.

import { Builder, Parser } from "xml2js";

/** An element. Text beside child elements is dropped: libvirt has no mixed content. */
export interface XmlElement {
  /** With its prefix, as written. */
  readonly name: string;
  /** Namespace URI and the name without prefix. */
  readonly namespace?: string;
  readonly localName?: string;
  readonly attributes: Record<string, string>;
  text: string;
  children: XmlElement[];
}

/** Parser depth, far above any domain's: hostile nesting must not end in a stack overflow. */
const MAX_DEPTH = 64;

// None of these is a legal XML name, so no element can be mistaken for one.
const KEYS = { attrkey: "@", charkey: "#", childkey: "%", xmlnskey: "@ns" } as const;

/** Parses one document. Comments and processing instructions are dropped; entities other than XML's five are errors. */
export function parseXml(text: string): XmlElement {
  const parser = new Parser({
    ...KEYS,
    strict: true,
    async: false,
    xmlns: true,
    explicitRoot: false,
    explicitCharkey: true,
    explicitChildren: true,
    preserveChildrenOrder: true,
  });
  let outcome: { error: Error | null; root: unknown } | undefined;
  parser.parseString(text, (error, root: unknown) => {
    outcome ??= { error, root };
  });
  if (outcome === undefined) throw new Error("the document does not end");
  if (outcome.error !== null) throw new Error(outcome.error.message.split("\n").join(", ").toLowerCase());
  return toElement(outcome.root, 1);
}

/** The document as text. Values that XML cannot carry must have been replaced or refused before. */
export function buildXml(root: XmlElement): string {
  const builder = new Builder({
    ...KEYS,
    headless: true,
    rootName: root.name,
    renderOpts: { pretty: true, indent: "  ", newline: "\n" },
  });
  return `${builder.buildObject(toObject(root))}\n`;
}

export function element(
  name: string,
  attributes: Readonly<Record<string, string>> = {},
  content: string | readonly XmlElement[] = [],
): XmlElement {
  const isText = typeof content === "string";
  return { name, attributes: { ...attributes }, text: isText ? content : "", children: isText ? [] : [...content] };
}

export function child(parent: XmlElement, name: string): XmlElement | undefined {
  return parent.children.find((each) => each.name === name);
}

/** Puts `replacement` where elements of its name were, or at the end; undefined removes them. */
export function setChild(parent: XmlElement, name: string, replacement: XmlElement | undefined): void {
  const place = parent.children.findIndex((each) => each.name === name);
  const kept = parent.children.filter((each) => each.name !== name);
  if (replacement !== undefined) kept.splice(place < 0 ? kept.length : place, 0, replacement);
  parent.children = kept;
}

/** True when XML 1.0 can carry every character of `text`. @see XML 1.0, production 2 "Char" */
export function isXmlText(text: string): boolean {
  return legalXmlText(text) === text;
}

/** `text` with every character that XML 1.0 cannot carry replaced by U+FFFD. */
export function legalXmlText(text: string): string {
  return text.toWellFormed().replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "\uFFFD");
}

function toElement(node: unknown, depth: number): XmlElement {
  if (depth > MAX_DEPTH) throw new Error(`elements are nested deeper than ${MAX_DEPTH}`);
  const fields = fieldsOf(node);
  const name = fields["#name"];
  if (typeof name !== "string") throw new Error("there is no element");
  const scope = fieldsOf(fields[KEYS.xmlnskey]);
  const text = fields[KEYS.charkey];
  const children = fields[KEYS.childkey];
  return {
    name,
    ...(typeof scope["uri"] === "string" ? { namespace: scope["uri"] } : {}),
    ...(typeof scope["local"] === "string" ? { localName: scope["local"] } : {}),
    attributes: toAttributes(fieldsOf(fields[KEYS.attrkey])),
    text: typeof text === "string" ? text : "",
    children: Array.isArray(children) ? children.map((each: unknown) => toElement(each, depth + 1)) : [],
  };
}

function toAttributes(fields: Record<string, unknown>): Record<string, string> {
  const entries = Object.entries(fields).map(([key, attribute]) => [key, fieldsOf(attribute)["value"]] as const);
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

/** xml2js groups elements of one name; their order among themselves is kept, and libvirt needs no more. */
function toObject({ attributes, text, children }: XmlElement): Record<string, unknown> {
  if (children.length === 0) return { [KEYS.attrkey]: attributes, [KEYS.charkey]: text };
  const groups = Map.groupBy(children, (each) => each.name);
  const entries = [...groups].map(([name, group]) => [name, group.map(toObject)] as const);
  return Object.fromEntries([[KEYS.attrkey, attributes], ...entries]);
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}
