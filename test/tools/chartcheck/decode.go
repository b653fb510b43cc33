package main

import (
	"fmt"
	"path"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

var strict = kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
	kjson.SerializerOptions{Yaml: true, Strict: true})

// serviceMonitor is Prometheus operator's type as far as we use it: no module brings it without a client of its own.
type serviceMonitor struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		NamespaceSelector struct {
			MatchNames []string `json:"matchNames"`
		} `json:"namespaceSelector"`
		Endpoints []struct {
			Port        string `json:"port"`
			Interval    string `json:"interval"`
			Relabelings []struct {
				SourceLabels []string `json:"sourceLabels"`
				TargetLabel  string   `json:"targetLabel"`
			} `json:"relabelings"`
		} `json:"endpoints"`
	} `json:"spec"`
}

func decodeAll(manifests map[string]string) error {
	seen, objects := map[string]string{}, []any{}
	for file, text := range manifests {
		if path.Ext(file) != ".yaml" {
			continue
		}
		for _, document := range strings.Split("\n"+text, "\n---") {
			if isEmpty(document) {
				continue
			}
			key, object, err := decode(document)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if other, isThere := seen[key]; isThere {
				return fmt.Errorf("%s: %s is in %s as well", file, key, other)
			}
			seen[key] = file
			objects = append(objects, object)
		}
	}
	return checkSelectors(objects)
}

func isEmpty(document string) bool {
	for _, line := range strings.Split(document, "\n") {
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "#") {
			return false
		}
	}
	return true
}

// decode names the object, or says what is wrong with it.
func decode(document string) (string, any, error) {
	if strings.Contains(document, "\nkind: ServiceMonitor\n") {
		var monitor serviceMonitor
		err := yaml.UnmarshalStrict([]byte(document), &monitor)
		return "ServiceMonitor " + monitor.Metadata.Name, &monitor, err
	}
	object, kind, err := strict.Decode([]byte(document), nil, nil)
	if err != nil {
		return "", nil, err
	}
	about, err := meta.Accessor(object)
	if err != nil {
		return "", nil, err
	}
	return kind.Kind + " " + about.GetName(), object, checkPod(object)
}

// checkPod finds what the API server would refuse: mounts of no volume, two mounts at one path, two volumes of one name.
func checkPod(object runtime.Object) error {
	var spec corev1.PodSpec
	switch typed := object.(type) {
	case *appsv1.DaemonSet:
		spec = typed.Spec.Template.Spec
		for key, value := range typed.Spec.Selector.MatchLabels {
			if typed.Spec.Template.Labels[key] != value {
				return fmt.Errorf("the selector's label %s is not the pod's", key)
			}
		}
	case *corev1.Pod:
		spec = typed.Spec
	default:
		return nil
	}
	volumes := map[string]bool{}
	for _, volume := range spec.Volumes {
		if volumes[volume.Name] {
			return fmt.Errorf("two volumes are named %s", volume.Name)
		}
		volumes[volume.Name] = true
	}
	used := map[string]bool{}
	for _, container := range append(spec.InitContainers, spec.Containers...) {
		paths := map[string]bool{}
		for _, mount := range container.VolumeMounts {
			if !volumes[mount.Name] || paths[mount.MountPath] {
				return fmt.Errorf("container %s: mount %s at %s: no such volume, or another is mounted there", container.Name, mount.Name, mount.MountPath)
			}
			paths[mount.MountPath] = true
			used[mount.Name] = true
		}
	}
	for name := range volumes {
		if !used[name] {
			return fmt.Errorf("nothing mounts volume %s", name)
		}
	}
	return nil
}
