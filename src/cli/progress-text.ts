// How far a pull is, in words.

import { PullPhase, type PullProgress } from "../gen/vmlet.ts";
import { bytesText, durationText } from "./format.ts";

/** Of all bytes, 0 to 1; undefined where the source does not say how many there are. */
export function shareOf({ receivedBytes, totalBytes }: PullProgress): number | undefined {
  if (totalBytes === undefined || totalBytes <= 0n) return undefined;
  return Math.min(1, Number(receivedBytes) / Number(totalBytes));
}

/** `12.3 MB of 45 MB (27 %)` */
export function amountText(progress: PullProgress): string {
  const { receivedBytes, totalBytes } = progress;
  const share = shareOf(progress);
  if (share === undefined || totalBytes === undefined) return bytesText(receivedBytes);
  return `${bytesText(receivedBytes)} of ${bytesText(totalBytes)} (${Math.floor(share * 100)} %)`;
}

/** `1.2 MB/s`; nothing where nothing comes. */
export function rateText({ phase, bytesPerSecond }: PullProgress): string {
  return phase === PullPhase.PULL_PHASE_RECEIVING ? `${bytesText(bytesPerSecond)}/s` : "";
}

/** `27s`; nothing where that cannot be told. */
export function leftText({ receivedBytes, totalBytes, bytesPerSecond }: PullProgress): string {
  if (totalBytes === undefined || bytesPerSecond <= 0n || receivedBytes >= totalBytes) return "";
  return durationText((Number(totalBytes - receivedBytes) / Number(bytesPerSecond)) * 1000);
}

export function phaseText(phase: PullPhase): string {
  switch (phase) {
    case PullPhase.PULL_PHASE_RECEIVING:
      return "receiving";
    case PullPhase.PULL_PHASE_CHECKING:
      return "checking";
    case PullPhase.PULL_PHASE_WAITING:
      return "waiting";
    default:
      return "asking";
  }
}

/** All of it, on one line. */
export function progressText(progress: PullProgress): string {
  if (progress.phase !== PullPhase.PULL_PHASE_RECEIVING) return `${phaseText(progress.phase)}, ${amountText(progress)}`;
  const left = leftText(progress);
  return `${amountText(progress)}, ${rateText(progress)}${left === "" ? "" : `, ${left} left`}`;
}
