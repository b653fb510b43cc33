package main

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// checkSelectors finds objects that miss each other, or meet where they must not: each is right by itself.
func checkSelectors(objects []any) error {
	for _, object := range objects {
		var err error
		switch typed := object.(type) {
		case *corev1.Service:
			err = mustSelect("Service "+typed.Name, typed.Spec.Selector, podsOf(objects))
		case *serviceMonitor:
			err = checkMonitor(typed, objects)
		case *networkingv1.NetworkPolicy:
			err = checkPolicy(typed, objects)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkMonitor(monitor *serviceMonitor, objects []any) error {
	services, ports := []labels.Set{}, map[string]bool{}
	for _, object := range objects {
		if service, is := object.(*corev1.Service); is {
			services = append(services, service.Labels)
			for _, port := range service.Spec.Ports {
				ports[port.Name] = true
			}
		}
	}
	for _, endpoint := range monitor.Spec.Endpoints {
		if !ports[endpoint.Port] {
			return fmt.Errorf("the ServiceMonitor's port %s is no Service's", endpoint.Port)
		}
	}
	return mustSelect("the ServiceMonitor", monitor.Spec.Selector.MatchLabels, services)
}

// checkPolicy: what a policy means for pods on the host's network is each plugin's choice, and ours must be reached.
func checkPolicy(policy *networkingv1.NetworkPolicy, objects []any) error {
	selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if set, is := object.(*appsv1.DaemonSet); is && set.Spec.Template.Spec.HostNetwork && selector.Matches(labels.Set(set.Spec.Template.Labels)) {
			return fmt.Errorf("NetworkPolicy %s covers DaemonSet %s, whose pods are on the host's network", policy.Name, set.Name)
		}
	}
	return mustSelect("NetworkPolicy "+policy.Name, policy.Spec.PodSelector.MatchLabels, podsOf(objects))
}

func podsOf(objects []any) []labels.Set {
	pods := []labels.Set{}
	for _, object := range objects {
		switch typed := object.(type) {
		case *appsv1.DaemonSet:
			pods = append(pods, typed.Spec.Template.Labels)
		case *corev1.Pod:
			pods = append(pods, typed.Labels)
		}
	}
	return pods
}

func mustSelect(who string, wanted map[string]string, all []labels.Set) error {
	for _, one := range all {
		if labels.SelectorFromSet(wanted).Matches(one) {
			return nil
		}
	}
	return fmt.Errorf("%s selects nothing that is here", who)
}
