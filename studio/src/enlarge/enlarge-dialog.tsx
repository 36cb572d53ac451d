/** @file Which network enlarges a picture, and how many times; how large it comes out and how long that takes, before it is asked for. */
import "./enlarge.css";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import type { Size, Upscaler } from "../api/types.ts";
import { duration, number, t } from "../messages/translate.ts";
import { Choice } from "../parts/choice.tsx";
import { Icon } from "../parts/icon.tsx";
import { notify, notifyFailure } from "../shell/notices.tsx";
import { go } from "../shell/route.ts";
import { learnJobs } from "../state/jobs.ts";
import { enlarging } from "./enlarge.tsx";

const TIMES = [2, 3, 4, 8];
/** The server makes no larger ones. */
const MAX_SIDE = 8192;

export function EnlargeDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const shown = enlarging.value;
  useEffect(() => {
    if (shown !== undefined) dialog.current?.showModal();
    else dialog.current?.close();
  }, [shown]);
  return (
    <dialog
      ref={dialog}
      class="enlarge"
      aria-label={t("enlarge.title")}
      closedby="any"
      onClose={() => {
        enlarging.value = undefined;
      }}
    >
      {shown !== undefined && <Choosing key={shown} sha256={shown} close={() => dialog.current?.close()} />}
    </dialog>
  );
}

interface ChoosingProps {
  readonly sha256: string;
  readonly close: () => void;
}

function Choosing({ sha256, close }: ChoosingProps) {
  const [networks, setNetworks] = useState<readonly Upscaler[]>();
  const [size, setSize] = useState<Size>();
  useEffect(() => {
    api.upscalers().then(setNetworks, (error: unknown) => {
      notifyFailure(error);
      close();
    });
  }, []);
  const address = `/api/assets/${sha256}`;
  return (
    <>
      <div class="dialog-head">
        <h2>{t("enlarge.title")}</h2>
        <button type="button" class="quiet icon-only" aria-label={t("app.close")} onClick={close}>
          <Icon name="close" />
        </button>
      </div>
      <div class="enlarge-body">
        <img
          src={address}
          alt={t("draw.current")}
          onLoad={({ currentTarget: { naturalWidth: width, naturalHeight: height } }) => setSize({ width, height })}
        />
        {networks === undefined && <p>{t("app.loading")}</p>}
        {networks?.length === 0 && <p class="hint">{t("enlarge.none")}</p>}
        {networks && networks.length > 0 && <Networks {...{ networks, sha256, size, close }} />}
      </div>
    </>
  );
}

interface NetworksProps extends ChoosingProps {
  readonly networks: readonly Upscaler[];
  /** Of the picture; undefined: not known yet. */
  readonly size: Size | undefined;
}

function Networks({ networks, sha256, size, close }: NetworksProps) {
  const id = useId();
  const [{ name, scale: own }, setNetwork] = useState(networks[0]!);
  const [chosen, setScale] = useState<number>();
  const [ms, setMs] = useState<number>();
  const fits = (times: number) => !size || Math.max(size.width, size.height) * times <= MAX_SIDE;
  const scales = TIMES.filter(fits);
  const scale = chosen ?? (fits(own) ? own : (scales.at(-1) ?? 1));
  const upscale = { image: `sha256:${sha256}`, upscaler: name, scale };
  useEffect(() => {
    let over = false;
    setMs(undefined);
    api.planUpscale(upscale).then(
      ({ predictedMs }) => !over && setMs(predictedMs),
      () => {},
    );
    return () => {
      over = true;
    };
  }, [name, scale]);
  const enlarge = () => {
    api.upscale(upscale).then((job) => {
      learnJobs([job]);
      notify(t("enlarge.asked"), { title: t("nav.queue"), run: () => go("queue") });
    }, notifyFailure);
    close();
  };
  return (
    <div class="enlarge-choice">
      <div class="field">
        <label for={id}>{t("enlarge.network")}</label>
        <select
          id={id}
          value={name}
          onChange={({ currentTarget }) => {
            setNetwork(networks.find((each) => each.name === currentTarget.value)!);
            setScale(undefined);
          }}
        >
          {networks.map((each) => (
            <option key={each.name} value={each.name}>
              {each.name}
            </option>
          ))}
        </select>
      </div>
      <Choice
        label={t("enlarge.times")}
        value={String(scale)}
        options={scales.map((times) => [String(times), t("enlarge.timesOf", { times })] as const)}
        onChange={(times) => setScale(Number(times))}
      />
      <p class="hint" role="status">
        {size && t("draw.sizeOf", { width: number(size.width * scale), height: number(size.height * scale) })}
        {ms !== undefined && ` · ${t("enlarge.takes", { time: duration(ms) })}`}
      </p>
      <button type="button" class="primary" onClick={enlarge}>
        {t("enlarge.go")}
      </button>
    </div>
  );
}
